"""Residual alignment: singular values and vectors of the Jacobians of the residual branches, and their alignment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vertebra.tasks.reporting.charts import NUM_LOOKS, Line
from vertebra.tasks.reporting.heatmaps import Heatmap, heatmap_plot
from vertebra.tasks.reporting.plots import Panel, line_plot
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.findings import Findings
from vertebra.tools.analyses.measures.jacobians import Singular, top_singular
from vertebra.tools.analyses.networks.norm_statistics import compared_modules
from vertebra.tools.analyses.networks.residual_branches import Branch, backbone_inputs, branch_inputs, residual_branches
from vertebra.tools.analyses.networks.subject import Subject, add_sample_flags, open_subject
from vertebra.tools.analyses.progress import track

DESCRIPTION = """\
Residual alignment: the largest singular values and vectors of the Jacobian of each residual branch, at the branch's own
input of single samples, by block power iteration without the matrix itself. Compared are the left vectors U of a block,
directions that it writes into the residual stream, and the right vectors V of a block of the same stage, directions
that it reads: of the same block, of later ones, and of earlier ones.

Paper: Residual Alignment: Uncovering the Mechanisms of Residual Networks, Li and Papyan 2023,
https://arxiv.org/abs/2401.09018.

What one may conclude: whether branches of this network read and write the same few directions, more than with random
weights and more than random directions would (chance). Overlap with later blocks arises in any chain of layers, plain
networks included; that within a block and with earlier ones is particular to a residual stream. Compare with a plain
network of the same layers. Not: that alignment causes accuracy.
"""
CAVEAT = (
    "Only blocks whose input and output have equal shapes are compared, and only within a stage; the first block of a "
    "stage usually changes the shape. Jacobians are those in evaluation mode. Convolutions with random weights share "
    "directions by their structure already, so compare with random weights and not with the chance level alone."
)


class StageAlignment(NamedTuple):
    """Alignment within a stage of B blocks that keep the shape, for the k largest singular triplets at N samples.

    Attributes:
        stage: its name.
        names: of the B blocks.
        size: n, number of values of the residual stream at a sample.
        values: (B, N, k) singular values.
        overlap: (B, B) alignment of U of block i with V of block j, |U_i^T V_j|^2 / k, mean over samples: 1 where both
            span the same space, k / n for random ones.
        top: (B, B) absolute cosine of the first vectors, |u_i . v_j|, mean over samples; about 0.8 / sqrt(n) for random
            ones.
    """

    stage: str
    names: list[str]
    size: int
    values: np.ndarray
    overlap: np.ndarray
    top: np.ndarray

    @property
    def chance(self) -> float:
        """Expectation of `overlap` for independent random vectors, k / n."""
        return self.values.shape[2] / self.size

    @property
    def within(self) -> float:
        """Mean overlap of U and V of the same block."""
        return float(self.overlap.diagonal().mean())

    @property
    def forward(self) -> float:
        """Mean overlap of U of a block and V of a later one: what the one writes, the other reads."""
        return float(self.overlap[np.triu_indices(len(self.names), 1)].mean())

    @property
    def backward(self) -> float:
        """Mean overlap of U of a block and V of an earlier one, which never reads what the later one writes."""
        return float(self.overlap[np.tril_indices(len(self.names), -1)].mean())


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of this analysis."""
    parser.add_argument("--points", type=int, default=4, metavar="N", help="samples with a Jacobian (default: 4)")
    parser.add_argument("--vectors", type=int, default=5, metavar="K", help="singular triplets k (default: 5)")
    add_sample_flags(parser, samples=64)


def analyze(args: Namespace) -> Findings:
    """Measure the alignment with random weights, and for a run also with its own."""
    if not 1 <= args.points <= args.samples:
        raise ValueError(f"--points is {args.points}; choose from 1 to the number of --samples, {args.samples}.")
    subject = open_subject(args).in_halves()
    images = backbone_inputs(subject)
    points = torch.cat(images)[: args.points]
    modules = compared_modules(subject, args.seed, images)
    found = {
        weights: measure_alignment(module.network, points, args.vectors, args.seed)
        for weights, module in modules.items()
    }
    return _findings(subject, found, args)


def measure_alignment(network: nn.Module, images: Tensor, k: int, seed: int = 0) -> list[StageAlignment]:
    """Measure the alignment of the residual branches in each stage.

    Args:
        network: in evaluation mode.
        images: (N, C, ...) as its backbone receives them.
        k: number of singular triplets.
        seed: of the first vectors of the power iteration.

    Raises:
        ValueError: no stage has two blocks that keep the shape of their input.
    """
    branches = residual_branches(network)
    inputs = branch_inputs(network, branches, images)
    pairs = [(branch, x) for branch, x in zip(branches, inputs, strict=True) if _keeps_shape(branch, x)]
    stages = [(stage, list(group)) for stage, group in groupby(pairs, key=lambda pair: pair[0].stage)]
    stages = [(stage, group) for stage, group in stages if len(group) > 1]
    if not stages:
        raise ValueError(
            f"{type(network).__name__} has no stage with two blocks whose input and output have equal shapes; the "
            "vectors of others are of different spaces. Choose a deeper network."
        )
    found: dict[str, list[Singular]] = {}
    for branch, x in track([pair for _, group in stages for pair in group], "Jacobians"):
        found.setdefault(branch.stage, []).append(top_singular(branch, x, k, seed))
    return [stage_alignment(stage, [branch.name for branch, _ in group], found[stage]) for stage, group in stages]


def stage_alignment(stage: str, names: list[str], triplets: Sequence[Singular]) -> StageAlignment:
    """Compare the singular vectors of the blocks of a stage, all of one shape."""
    left = torch.stack([one.left for one in triplets])  # (B, N, n, k)
    right = torch.stack([one.right for one in triplets])
    products = torch.einsum("ipnk,jpnl->ijpkl", left, right).abs()
    k = products.shape[-1]
    return StageAlignment(
        stage,
        names,
        left.shape[2],
        torch.stack([one.values for one in triplets]).double().cpu().numpy(),
        (products.square().sum(dim=(3, 4)) / k).mean(dim=2).double().cpu().numpy(),
        products[..., 0, 0].mean(dim=2).double().cpu().numpy(),
    )


@torch.no_grad()
def _keeps_shape(branch: Branch, x: Tensor) -> bool:
    return branch(x[:1]).shape == x[:1].shape


def _findings(subject: Subject, found: dict[str, list[StageAlignment]], args: Namespace) -> Findings:
    maps, panels, summary = [], [], []
    for weights, stages in found.items():
        for one in stages:
            names = [name.removeprefix(f"{one.stage}.") for name in one.names]
            title = f"{one.stage}, {weights} (chance {one.chance:.4f})"
            maps.append(Heatmap(title, one.overlap, names, names, "U of block", "V of block"))
            means = one.values.mean(axis=1)  # (B, k)
            depth = np.array([int(name) if name.isdigit() else place for place, name in enumerate(names)])
            lines = [
                Line(f"singular value {i + 1}", depth, means[:, i], i) for i in range(min(NUM_LOOKS, args.vectors))
            ]
            panels.append(Panel(f"{one.stage}, {weights}", lines, "block of the stage", "singular value", log_y=True))
            averages = (one.within, one.forward, one.backward, one.chance)
            top = float(one.top[~np.eye(len(names), dtype=bool)].mean())
            summary.append([weights, one.stage, len(names), one.size, *averages, top, means[:, 0].mean()])
    number = len(next(iter(found.values())))
    columns = number if number > 1 else len(found)  # weights below each other, those of a single stage side by side
    header = ["weights", "stage", "blocks", "stream size", "within a block", "to later blocks", "to earlier blocks"]
    header += ["chance", "top cosine between blocks", "largest singular value"]
    headline = {f"overlap to earlier blocks, {weights}": _mean(stages, "backward") for weights, stages in found.items()}
    headline |= {f"within a block, {weights}": _mean(stages, "within") for weights, stages in found.items()}
    points = f"{args.points} of {subject.samples}"
    setting = {"network": subject.name, "samples": points, "singular triplets": str(args.vectors)}
    return Findings(
        f"Residual alignment of {subject.name}",
        setting | {"seed": str(args.seed)},
        headline,
        _sentences(found),
        [
            heatmap_plot("alignment", "Overlap of U of a block and V of a block", maps, columns=columns),
            line_plot(
                "alignment_spectra", "Largest singular values of the Jacobians by depth", panels, columns=columns
            ),
        ],
        Table(
            "Alignment and singular values",
            ("weights", "stage", "quantity", "block", "block of V", "value"),
            _rows(found),
        ),
        Table("Alignment in each stage", header, summary),
        CAVEAT,
    )


def _rows(found: dict[str, list[StageAlignment]]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for weights, stages in found.items():
        for one in stages:
            for name, values in zip(one.names, one.values.mean(axis=1), strict=True):
                rows += [[weights, one.stage, f"singular value {i + 1}", name, "", x] for i, x in enumerate(values)]
            for quantity, matrix in (("overlap", one.overlap), ("top cosine", one.top)):
                for (i, j), value in np.ndenumerate(matrix):
                    rows.append([weights, one.stage, quantity, one.names[i], one.names[j], value])
    return rows


def _mean(stages: Sequence[StageAlignment], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in stages]))


def _sentences(found: dict[str, list[StageAlignment]]) -> list[str]:
    sentences = []
    for weights, stages in found.items():
        within, forward, backward, chance = (_mean(stages, x) for x in ("within", "forward", "backward", "chance"))
        last = stages[-1]
        sentences.append(
            f"{weights.capitalize()}: U and V overlap by {within:.3f} within a block, {forward:.3f} to later and "
            f"{backward:.3f} to earlier blocks (mean of the stages; 0 to 1, chance {chance:.4f}); in {last.stage} by "
            f"{last.within:.3f}, {last.forward:.3f} and {last.backward:.3f}."
        )
    if len(found) == 2:
        untrained, trained = (_mean(stages, "backward") for stages in found.values())
        change = "rises" if trained > 1.5 * untrained else "falls" if trained < untrained / 1.5 else "hardly changes"
        sentences.append(
            f"The overlap to earlier blocks, which chaining alone does not cause, {change} with training, from "
            f"{untrained:.4f} to {trained:.4f}."
        )
    return sentences
