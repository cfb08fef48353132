"""Residual blocks as steps of Euler's method: finer steps, and the path of an ODE solver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal, cast

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from vertebra.tools.analyses.networks.blocks import on_output
from vertebra.tools.analyses.networks.residual_branches import Branch

Sum = Literal["sum", "rectified"]


def kind_of_sum(branch: Branch, x: Tensor) -> Sum | None:
    """Return how a block joins branch and shortcut at x: `sum` is x + F(x), `rectified` relu(x + F(x)).

    None for another function, and for a block that changes the shape.
    """
    with torch.no_grad():
        value, output = branch.with_output(x)
    if not branch.is_residual or value.shape != x.shape or output.shape != x.shape:
        return None
    for kind, expected in (("sum", x + value), ("rectified", (x + value).relu())):
        if torch.allclose(output, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())):
            return cast(Sum, kind)
    return None


@contextmanager
def refined(branches: Sequence[Branch], steps: int) -> Iterator[None]:
    """Replace each block by `steps` equal ones in sequence, whose branch is divided by `steps`, in a `with` block.

    Multi-level Residual Networks from Dynamical Systems View, Chang et al. 2017, https://arxiv.org/abs/1710.10348.

    Args:
        branches: of blocks that keep the shape of their input; those of an ODE stage share theirs.
        steps: 1 leaves the network as it is.
    """
    with ExitStack() as stack:
        for end in {id(branch.end): branch.end for branch in branches}.values():  # blocks may share their layers
            stack.callback(on_output(end, lambda y: y / steps).remove)
        for block in {id(branch.block): branch.block for branch in branches}.values():
            stack.enter_context(_repeated(block, steps))
        yield


@contextmanager
def _repeated(block: nn.Module, times: int) -> Iterator[None]:
    forward = block.forward

    def repeated(x: Tensor) -> Tensor:
        for _ in range(times):
            x = forward(x)
        return x

    block.forward = repeated
    try:
        yield
    finally:
        block.forward = forward


@torch.no_grad()
def run_blocks(branches: Sequence[Branch], x: Tensor, steps: int = 1) -> Tensor:
    """Return the output of the blocks of a stage in sequence, each refined to `steps`."""
    with refined(branches, steps):
        for branch in branches:
            x = branch.block(x)
    return x


@torch.no_grad()
def solve_blocks(branches: Sequence[Branch], x: Tensor, kind: Sum, tolerance: float = 1e-3) -> Tensor:
    """Return the state after the blocks of a stage if the depth of each is continuous, x' = F(x) for a time of 1.

    Dormand and Prince's method of order 5 with step size control. With `rectified` sums the state is confined to
    x >= 0: where a value is 0, it does not fall, which is the limit of relu(x + h F(x)) for small h.

    Args:
        branches: of the blocks.
        x: (N, ...) state before the first.
        kind: of their sums.
        tolerance: error per step of the solver, as a part of the branch at the first x or of x, whichever is smaller.
    """
    for branch in branches:
        size, move = (float(y.double().square().mean().sqrt()) for y in (x, branch(x)))
        relative = max(tolerance * min(move / max(size, 1e-30), 1), 1e-7)
        start = x.flatten().double().cpu().numpy()
        solution = solve_ivp(_velocity(branch, x, kind), (0, 1), start, rtol=relative, atol=relative * size, t_eval=[1])
        x = torch.from_numpy(solution.y[:, -1]).to(x).reshape(x.shape)
        x = x.relu() if kind == "rectified" else x
    return x


def _velocity(branch: Branch, like: Tensor, kind: Sum) -> Callable[[float, np.ndarray], np.ndarray]:
    """Return F for the solver, which takes time and state as an array."""

    def velocity(time: float, state: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(state).to(like).reshape(like.shape)
        if kind == "rectified":  # the solver's trial states may be slightly below 0
            value = branch(x.relu())
            value = torch.where(x > 0, value, value.relu())
        else:
            value = branch(x)
        return value.flatten().double().cpu().numpy()

    return velocity


def relative_distance(x: Tensor, reference: Tensor) -> float:
    """Return |x - reference| / |reference|, mean over the samples of (N, ...)."""
    difference = (x - reference).flatten(1).double().norm(dim=1)
    return float((difference / reference.flatten(1).double().norm(dim=1).clamp_min(1e-30)).mean())
