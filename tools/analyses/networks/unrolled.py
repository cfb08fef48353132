"""Blocks in the order of a forward pass, in which the one block of an ODE stage runs once for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle

from torch import Tensor, nn

from vertebra.backbones.ode import ODEStage
from vertebra.tools.analyses.networks.blocks import Block, blocks_of, body_of

Take = Callable[[Tensor], None]


def unrolled_blocks(network: nn.Module) -> list[Block]:
    """Return the blocks of a network's backbone in the order in which they run.

    They are those of `blocks_of`, but the block of an ODE stage is there once for each step of Euler's method, under
    the name of the residual block that the step replaces: `layer1.1`, `layer1.2`, ... all have the module `layer1.1`.

    Raises:
        ValueError: a stage has another solver, whose evaluations are no steps x + f(x), or there are no blocks.
    """
    body = body_of(network)
    solved = {list(stage)[1]: stage for stage in body.modules() if isinstance(stage, ODEStage) and len(stage) > 1}
    found: list[Block] = []
    for block in blocks_of(network):
        if (stage := solved.get(block.module)) is None:
            found.append(block)
            continue
        solver = stage.solver
        if not solver.is_own or solver.steps > 1:
            raise ValueError(
                f"{block.stage} is solved by {solver.method} (steps={solver.steps}, adjoint={solver.adjoint}), whose "
                "evaluations are no residual blocks x + f(x); expected Euler's method with one step in a unit of time. "
                "Choose a registered network: vertebra backbones 'odenet*'."
            )
        found += [block._replace(name=f"{block.stage}.{step}") for step in range(1, stage.time + 1)]
    return found


def in_turn(runs: Iterable[tuple[nn.Module, Take]]) -> list[tuple[nn.Module, Take]]:
    """Return each module once, with one function for a hook of it.

    Args:
        runs: modules in the order in which they run, each with a function of its tensor. Those of a module that runs
            several times in a pass are called in turn, and again from the first in the next pass.
    """
    grouped: dict[nn.Module, list[Take]] = {}
    for module, take in runs:
        grouped.setdefault(module, []).append(take)
    turns = {module: cycle(group) for module, group in grouped.items()}
    return [(module, lambda x, turn=turn: next(turn)(x)) for module, turn in turns.items()]  # type: ignore[misc]
