"""Paths through a residual network: their lengths, and the gradient that flows along paths of each length.

A network of n residual blocks is a sum over 2^n paths, each of which takes the branch or the shortcut of every block.
Residual Networks Behave Like Ensembles of Relatively Shallow Networks, Veit et al. 2016,
https://arxiv.org/abs/1605.06431.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from math import comb
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vertebra.tasks.reporting.charts import Line
from vertebra.tasks.reporting.plots import Panel
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.networks.blocks import Block, hooked, on_input, on_output
from vertebra.tools.analyses.progress import track

_LARGE_PART = 0.2  # of the gradient, from one random path


def path_counts(num_blocks: int) -> list[int]:
    """Return how many of the 2^n paths through n residual blocks take k branches, for k from 0 to n."""
    return [comb(num_blocks, length) for length in range(num_blocks + 1)]


def central_lengths(shares: np.ndarray, total: float = 0.95) -> tuple[int, int]:
    """Return the range of lengths that leaves out at most half of `1 - total` of `shares` (n + 1,) on each side."""
    cumulative = np.cumsum(shares)
    tail = (1 - total) / 2 * cumulative[-1]
    return int(np.searchsorted(cumulative, tail, "right")), int(np.searchsorted(cumulative, cumulative[-1] - tail))


class PathGradients:
    """Gradient of a loss at the input of the first block, along single paths.

    The network runs forward once, as it is. On the way back the gradient passes only the branch of some blocks and only
    the shortcut of the others. Gradients of all paths add up to the gradient of the loss.

    Args:
        blocks: residual blocks from the input to the output; each has a `branch_end`.
        loss: runs the network and returns the loss.
    """

    def __init__(self, blocks: Sequence[Block], loss: Callable[[], Tensor]) -> None:
        self._open = [_Gates() for _ in blocks]
        self._input: list[Tensor] = []
        with hooked(self._hooks(blocks)), torch.enable_grad():
            self._loss = loss()

    def along(self, branches: Collection[int]) -> Tensor:
        """Return the gradient along the path that takes the branches of these blocks, and else shortcuts."""
        for index, gates in enumerate(self._open):
            gates.branch, gates.shortcut = float(index in branches), float(index not in branches)
        return self._gradient()

    def along_all(self) -> Tensor:
        """Return the gradient of the loss, which is the sum over all paths."""
        for gates in self._open:
            gates.branch = gates.shortcut = 1.0
        return self._gradient()

    def _gradient(self) -> Tensor:
        (gradient,) = torch.autograd.grad(self._loss, self._input[0], retain_graph=True, allow_unused=True)
        # no part of the loss depends on the input by this path
        return torch.zeros_like(self._input[0]) if gradient is None else gradient

    def _hooks(self, blocks: Sequence[Block]) -> Iterator[RemovableHandle]:
        yield on_input(blocks[0].module, self._keep)
        for block, gates in zip(blocks, self._open, strict=True):
            if block.branch_end is None:
                raise ValueError(f"{block.name} has no residual branch; paths exist in residual networks only.")
            yield on_output(block.branch_end, gates.gate_branch)
            downsample = getattr(block.module, "downsample", None)
            if isinstance(downsample, nn.Module):
                yield on_output(downsample, gates.gate_shortcut)
            else:
                yield from _split_input(block.module, gates)

    def _keep(self, x: Tensor) -> None:
        if not self._input:
            self._input.append(x if x.requires_grad else x.requires_grad_())


def gradients_by_length(blocks: Sequence[Block], loss: Callable[[], Tensor], paths: int, seed: int) -> list[np.ndarray]:
    """Return the norm of the gradient along random paths of each length.

    Args:
        blocks: the n residual blocks.
        loss: runs the network and returns the loss.
        paths: number of random paths of each length.
        seed: of the choice of paths.

    Returns:
        For each length from 0 to n the norms at the input of the first block, (paths,), or of the one path there is.
    """
    rng = np.random.default_rng(seed)
    gradients = PathGradients(blocks, loss)
    norms = []
    for length in track(range(len(blocks) + 1), "gradient by path length"):
        draws = min(paths, comb(len(blocks), length))
        chosen = [set(rng.choice(len(blocks), length, replace=False).tolist()) for _ in range(draws)]
        norms.append(np.array([float(gradients.along(branches).double().norm()) for branches in chosen]))
    return norms


class Paths(NamedTuple):
    """Paths through n residual blocks by length, from 0 to n.

    Attributes:
        norms: of the gradient along random paths of each length.
        counts: (n + 1,) share of all paths that have the length.
        shares: (n + 1,) share of the gradient from paths of the length: mean norm times number of paths.
    """

    norms: list[np.ndarray]
    counts: np.ndarray
    shares: np.ndarray


def measure_paths(blocks: Sequence[Block], loss: Callable[[], Tensor], paths: int, seed: int) -> Paths:
    """Measure the gradient by path length; arguments as for `gradients_by_length`."""
    norms = gradients_by_length(blocks, loss, paths, seed)
    # float(int) and not numpy: binomials of deep networks exceed int64
    counts = np.array([count / 2 ** len(blocks) for count in path_counts(len(blocks))])
    total = counts * np.array([values.mean() for values in norms])
    return Paths(norms, counts, total / total.sum() if total.sum() > 0 else np.full(len(total), np.nan))


def path_panels(paths: Paths) -> list[Panel]:
    """Return the panels of a figure: paths and gradient by length."""
    lengths = np.arange(len(paths.counts))
    means = np.array([values.mean() for values in paths.norms])
    return [
        Panel("Paths by length", [Line("share of paths", lengths, paths.counts, 2)], "length", "share of paths"),
        Panel("Gradient along a path", [Line("norm along a path", lengths, means, 4)], "length", "norm", log_y=True),
        Panel(
            "Gradient by path length",
            [
                Line("share of the gradient", lengths, paths.shares, 1),
                Line("share of paths", lengths, paths.counts, 2),
            ],
            "length",
            "share",
        ),
    ]


def path_table(paths: Paths) -> Table:
    """Return counts, norms and shares by length."""
    header = (
        "length",
        "paths",
        "share of paths",
        "sampled",
        "gradient norm",
        "standard deviation",
        "share of gradient",
    )
    counts = path_counts(len(paths.norms) - 1)
    rows = [
        [length, counts[length], paths.counts[length], len(norms), norms.mean(), norms.std(), paths.shares[length]]
        for length, norms in enumerate(paths.norms)
    ]
    return Table("Paths by length", header, rows)


def path_sentences(paths: Paths) -> list[str]:
    """Say which lengths most paths and most of the gradient have."""
    num_blocks = len(paths.counts) - 1
    low, high = central_lengths(paths.counts)
    binomial = f"{num_blocks} residual blocks make 2^{num_blocks} paths (binomial)"
    sentences = [f"{binomial}; 95 % of them have {low} to {high} branches."]
    if np.isfinite(paths.shares).all():
        low, high = central_lengths(paths.shares)
        lengths = f"{low} to {high}" if high > low else f"{low}"
        sentences.append(
            f"95 % of the gradient, summed over the norms of its paths, comes from paths of {lengths} branches."
        )
        if (largest := _largest_part(paths)) > _LARGE_PART:
            sentences.append(
                f"A single one of the random paths makes {largest:.0%} of that sum: it depends on their choice. Give a "
                "larger --paths."
            )
    return sentences


def _largest_part(paths: Paths) -> float:
    """Return the largest part of the summed norms that follows from one random path, which counts for many."""
    total = sum(values.mean() * count for values, count in zip(paths.norms, paths.counts, strict=True))
    # where there is one path of a length it is all of them, and no sample
    parts = [
        values.max() / len(values) * count
        for values, count, number in zip(paths.norms, paths.counts, path_counts(len(paths.norms) - 1), strict=True)
        if len(values) < number
    ]
    return float(max(parts, default=0.0) / total)


class _Gates:
    """Factors on the gradient through the branch and through the shortcut of a block."""

    def __init__(self) -> None:
        self.branch = self.shortcut = 1.0

    def gate_branch(self, x: Tensor) -> None:
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient * self.branch)

    def gate_shortcut(self, x: Tensor) -> Tensor:
        # a view of its own, since the tensor itself may also be the input of the branch
        gated = x.view_as(x)
        if gated.requires_grad:
            gated.register_hook(lambda gradient: gradient * self.shortcut)
        return gated


def _split_input(block: nn.Module, gates: _Gates) -> Iterator[RemovableHandle]:
    """Give an identity shortcut a gated input and the branch the one it had; both are one tensor in the block."""
    given: dict[str, Tensor] = {}

    def enter(module: nn.Module, inputs: Any) -> Any:
        given["raw"], given["gated"] = inputs[0], gates.gate_shortcut(inputs[0])
        return (given["gated"], *inputs[1:])

    def enter_branch(module: nn.Module, inputs: Any) -> Any:
        return (given["raw"], *inputs[1:]) if inputs and inputs[0] is given.get("gated") else None

    yield block.register_forward_pre_hook(enter)
    for child in block.children():
        yield child.register_forward_pre_hook(enter_branch)
