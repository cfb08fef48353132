"""Deleting blocks of a network and putting them in another order, for as long as a `with` block runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vertebra.tools.analyses.networks.blocks import Block, hooked, without_branches


def keeps_shape(blocks: Sequence[Block], run: Callable[[], Any]) -> list[tuple[int, ...] | None]:
    """Return for each block the shape (C, ...) of its input if its output has the same, else None.

    Args:
        blocks: of a network.
        run: runs the network.
    """
    shapes: list[tuple[int, ...] | None] = [None] * len(blocks)

    def hook(index: int, block: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and inputs and output.shape == inputs[0].shape:
            shapes[index] = tuple(output.shape[1:])

    with hooked(block.module.register_forward_hook(partial(hook, index)) for index, block in enumerate(blocks)):
        run()
    return shapes


def deletion(blocks: Sequence[Block]) -> Iterator[RemovableHandle]:
    """Yield hooks that delete blocks: of a residual block the branch, of another all, so that it is the identity.

    In a stage that takes the change f(x) = block(x) - x a deleted block is the identity, too, so that f is 0. Without
    its branch alone, f would be relu(x) - x in networks with an activation after the sum.
    """
    yield from without_branches([block for block in blocks if not block.is_increment])
    for block in blocks:
        if block.branch_end is None or block.is_increment:
            yield block.module.register_forward_hook(lambda module, inputs, output: inputs[0])


@contextmanager
def reordered(body: nn.Module, blocks: Sequence[Block], order: Sequence[int]) -> Iterator[None]:
    """Put block `order[i]` in the place of block i, within the `with` block."""
    try:
        for place, source in zip(blocks, order, strict=True):
            _put(body, place.name, blocks[source].module)
        yield
    finally:
        for block in blocks:
            _put(body, block.name, block.module)


def swapped(shapes: Sequence[Any], swaps: int, rng: np.random.Generator) -> list[int]:
    """Return the order of blocks after random swaps, each of two blocks of one kind.

    Args:
        shapes: of each block its kind; None for a block that stays in its place.
        swaps: number of swaps.
        rng: of the choices.

    Raises:
        ValueError: no two blocks are of one kind.
    """
    order = list(range(len(shapes)))
    pairs = [(i, j) for j in range(len(shapes)) for i in range(j) if shapes[i] is not None and shapes[i] == shapes[j]]
    if not pairs:
        raise ValueError("no two blocks of the network have the same shapes; nothing can be swapped.")
    for _ in range(swaps):
        i, j = pairs[rng.integers(len(pairs))]
        order[i], order[j] = order[j], order[i]
    return order


def _put(body: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    body.get_submodule(parent)._modules[child] = module
