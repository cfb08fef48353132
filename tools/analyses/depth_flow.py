"""Depth as time: sizes of the residual branches, refinement of the blocks, and the path of an ODE solver."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vertebra.backbones.momentum import MomentumStage
from vertebra.tasks.classification.classifier import ImageClassifier
from vertebra.tasks.reporting.charts import Line
from vertebra.tasks.reporting.plots import Panel, line_plot
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.video.classifier import ClipClassifier
from vertebra.tools.analyses.findings import NEW_STAGE, WEIGHT_LOOKS, Findings
from vertebra.tools.analyses.measures.continuous_depth import (
    Sum,
    kind_of_sum,
    refined,
    relative_distance,
    run_blocks,
    solve_blocks,
)
from vertebra.tools.analyses.networks.blocks import body_of
from vertebra.tools.analyses.networks.norm_statistics import compared_modules
from vertebra.tools.analyses.networks.residual_branches import Branch, backbone_inputs, branch_inputs, residual_branches
from vertebra.tools.analyses.networks.subject import Subject, add_sample_flags, open_subject
from vertebra.tools.analyses.progress import track

DESCRIPTION = """\
Depth as time: a residual block x + F(x) is a step of Euler's method for x' = F(x). Measured are the size of each branch
relative to the stream, the cosine between successive steps, the change of the output where each block is replaced by
2, 4, ... equal ones with 1/2, 1/4, ... of its branch, and the distance to the path of an ODE solver through a stage.

Papers: Multi-level Residual Networks from Dynamical Systems View, Chang et al. 2017, https://arxiv.org/abs/1710.10348;
Do Residual Neural Networks discretize Neural Ordinary Differential Equations?, Sander et al. 2022,
https://arxiv.org/abs/2205.14612.

What one may conclude: where branches are small and the output hardly changes under refinement, the network behaves as
the discretization of a smooth flow, and depth may be changed after training. Where it changes much, blocks are separate
functions and the ODE view does not describe this network. Not: that either is more accurate.
"""
CAVEAT = (
    "Only blocks that keep the shape of their input are refined, with their batch norms' statistics unchanged; those "
    "that change it, at the start of most stages, stay as they are. For blocks with an activation after the sum the "
    "ODE is confined to positive values. Any network with Lipschitz branches converges as steps get finer; what counts "
    "is how far it already is from the limit."
)
_STEPS = (1, 2, 4, 8)  # 1 is the network itself


class BlockStep(NamedTuple):
    """A block as a step, at N samples.

    Attributes:
        branch: the block's branch.
        size: |F(x)| / |x|, mean over the samples.
        cosine: between this step and the last one of the same stage, mean over the samples; NaN for the first.
    """

    branch: Branch
    size: float
    cosine: float


class Refinement(NamedTuple):
    """Blocks as steps of a method for an ODE.

    Attributes:
        stages: stage to the relative distance between its output with 1, 2, 4 and 8 steps a block and that of an ODE
            solver, (4,); both start from the stage's own input.
        output: relative change of the backbone's coarsest map with 1, 2, 4 and 8 steps in every block, (4,).
        agreement: part of the samples whose predicted class stays, (4,); NaN without a class for each sample.
    """

    stages: dict[str, np.ndarray]
    output: np.ndarray
    agreement: np.ndarray


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of this analysis."""
    parser.add_argument("--points", type=int, default=2, metavar="N", help="samples for the ODE solver (default: 2)")
    add_sample_flags(parser, samples=64)


def analyze(args: Namespace) -> Findings:
    """Measure the steps with random weights, and for a run also with its own."""
    if not 1 <= args.points <= args.samples:
        raise ValueError(f"--points is {args.points}; choose from 1 to the number of --samples, {args.samples}.")
    subject = open_subject(args).in_halves()
    images = backbone_inputs(subject)
    modules = compared_modules(subject, args.seed, images)
    steps = {weights: measure_steps(module.network, images[0]) for weights, module in modules.items()}
    finer = {weights: refine(module.network, images[0], args.points) for weights, module in modules.items()}
    # random weights predict one class for most samples, refined or not
    finer["untrained"] = finer["untrained"]._replace(agreement=np.full(len(_STEPS), np.nan))
    return _findings(subject, steps, finer, args)


@torch.no_grad()
def measure_steps(network: nn.Module, images: Tensor) -> list[BlockStep]:
    """Measure the blocks that keep the shape of their input.

    Args:
        network: in evaluation mode.
        images: (N, C, ...) as its backbone receives them.

    Raises:
        ValueError: there is none.
    """
    measured: list[BlockStep] = []
    last: Tensor | None = None
    for branch, x, _ in _steps_of(network, images):
        value, output = branch.with_output(x)
        move = (output - x).flatten(1)
        is_first = not measured or measured[-1].branch.stage != branch.stage
        cosine = np.nan if is_first or last is None else float(torch.cosine_similarity(move, last).mean())
        measured.append(BlockStep(branch, float((_norms(value) / _norms(x).clamp_min(1e-30)).mean()), cosine))
        last = move
    return measured


@torch.no_grad()
def refine(network: nn.Module, images: Tensor, points: int) -> Refinement:
    """Refine the blocks that keep the shape of their input, and solve the ODE of each stage.

    Args:
        network: in evaluation mode.
        images: (N, C, ...) as its backbone receives them.
        points: number of them for the solver, which makes hundreds of passes.

    Raises:
        ValueError: there is no such block.
    """
    steps = _steps_of(network, images)
    stages = {}
    groups = [(stage, list(group)) for stage, group in groupby(steps, key=lambda step: step[0].stage)]
    for stage, group in track(groups, "ODE solver"):
        branches, x, kind = [branch for branch, _, _ in group], group[0][1][:points], group[0][2]
        exact = solve_blocks(branches, x, kind)
        stages[stage] = np.array([relative_distance(run_blocks(branches, x, count), exact) for count in _STEPS])
    maps, classes = [], []
    for count in _STEPS:
        with refined([branch for branch, _, _ in steps], count):
            maps.append(list(body_of(network)(images).values())[-1])
            classes.append(_classes(network, images))
    kept = [np.nan if one is None else float((one == classes[0]).mean()) for one in classes]
    return Refinement(stages, np.array([relative_distance(one, maps[0]) for one in maps]), np.array(kept))


def _steps_of(network: nn.Module, images: Tensor) -> list[tuple[Branch, Tensor, Sum]]:
    """Return branch, input and kind of sum of each block that keeps the shape and has a shortcut."""
    if any(isinstance(module, MomentumStage) for module in body_of(network).modules()):
        raise ValueError(
            f"{type(body_of(network)).__name__} has momentum: its blocks are steps of a second-order equation in x and "
            "a velocity, and not of x' = F(x). Choose a network of blocks x + F(x), such as resnet20."
        )
    branches = residual_branches(network)
    inputs = branch_inputs(network, branches, images)
    kinds = [kind_of_sum(branch, x) for branch, x in zip(branches, inputs, strict=True)]
    steps = [(branch, x, kind) for branch, x, kind in zip(branches, inputs, kinds, strict=True) if kind is not None]
    if not steps:
        raise ValueError(
            f"{type(body_of(network)).__name__} has no block of the form x + F(x) or relu(x + F(x)) with an input and "
            "output of equal shape; a network without shortcuts has no steps. Choose a residual one."
        )
    return steps


def _classes(network: nn.Module, images: Tensor) -> np.ndarray | None:
    """Return the predicted class of each sample, None where the network is no classifier of them."""
    if isinstance(network, ImageClassifier | ClipClassifier):
        return network(images).argmax(dim=1).cpu().numpy()
    return None


def _norms(x: Tensor) -> Tensor:
    return x.flatten(1).double().norm(dim=1)


def _findings(
    subject: Subject, steps: dict[str, list[BlockStep]], finer: dict[str, Refinement], args: Namespace
) -> Findings:
    header = ["weights", "blocks", "branch size", "largest branch size", "cosine of steps", "output change, 2 steps"]
    header += ["output change, 8 steps", "predictions kept, 2 steps", "distance to ODE, 1 step", "… 8 steps", "order"]
    blocks = str(len(next(iter(steps.values()))))
    setting = {"network": subject.name, "samples": subject.samples, "blocks": blocks, "seed": str(args.seed)}
    return Findings(
        f"Depth as time in {subject.name}",
        setting | {"samples for the solver": str(args.points)},
        {f"branch size, {weights}": float(_column(rows, "size").mean()) for weights, rows in steps.items()}
        | {f"output change, 2 steps, {weights}": float(one.output[1]) for weights, one in finer.items()},
        _sentences(steps, finer),
        [line_plot("depth-flow", "Depth as time", _panels(steps, finer))],
        Table("Steps by depth", ("weights", "quantity", "place", "steps a block", "value"), _rows(steps, finer)),
        Table("Depth as time", header, [_summary(name, steps[name], finer[name]) for name in steps]),
        CAVEAT,
    )


def _panels(steps: dict[str, list[BlockStep]], finer: dict[str, Refinement]) -> list[Panel]:
    some = next(iter(steps.values()))
    depth = np.arange(1, len(some) + 1)
    marks = [i + 0.5 for i, (a, b) in enumerate(pairwise(some), start=1) if a.branch.stage != b.branch.stage]
    by_depth = [
        Panel(
            title,
            [Line(name, depth, _column(rows, field), WEIGHT_LOOKS[name]) for name, rows in steps.items()],
            "block that keeps the shape",
            y_label,
            marks=marks,
            marks_name=NEW_STAGE,
        )
        for field, title, y_label in (
            ("size", "Residual branch relative to the stream", "|F(x)| / |x|"),
            ("cosine", "Direction of successive steps", "cosine"),
        )
    ]
    counts = np.array(_STEPS)
    paths = [
        Panel(
            f"Distance to the ODE's path, {weights}",
            [Line(stage, counts, errors, 2 + i) for i, (stage, errors) in enumerate(one.stages.items())],
            "steps a block",
            "relative distance",
            log_y=True,
            log_x=True,
        )
        for weights, one in finer.items()
    ]
    changes = Panel(
        "Change of the coarsest map",
        [Line(weights, counts, one.output, WEIGHT_LOOKS[weights]) for weights, one in finer.items()],
        "steps a block",
        "relative change",
        log_x=True,
    )
    kept = Panel(
        "Predictions that stay",
        [Line(weights, counts, one.agreement, WEIGHT_LOOKS[weights]) for weights, one in finer.items()],
        "steps a block",
        "part of the samples",
        log_x=True,
    )
    stays = [kept] if any(np.isfinite(one.agreement).all() for one in finer.values()) else []
    return [*by_depth, changes, *stays, *paths]


def _column(steps: Sequence[BlockStep], field: str) -> np.ndarray:
    return np.array([getattr(step, field) for step in steps], dtype=float)


def _rows(steps: dict[str, list[BlockStep]], finer: dict[str, Refinement]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for weights, measured in steps.items():
        for step in measured:
            rows.append([weights, "branch size", step.branch.name, 1, step.size])
            rows.append([weights, "cosine to last step", step.branch.name, 1, step.cosine])
        one = finer[weights]
        for i, count in enumerate(_STEPS):
            rows += [[weights, "distance to ODE", stage, count, x[i]] for stage, x in one.stages.items()]
            rows.append([weights, "output change", "coarsest map", count, one.output[i]])
            rows.append([weights, "predictions kept", "network", count, one.agreement[i]])
    return rows


def _summary(weights: str, steps: Sequence[BlockStep], one: Refinement) -> list[Any]:
    sizes, cosines = _column(steps, "size"), _column(steps, "cosine")
    cosines = cosines[np.isfinite(cosines)]
    distance = np.mean(list(one.stages.values()), axis=0)
    row = [weights, len(steps), sizes.mean(), sizes.max(), cosines.mean() if len(cosines) else np.nan]
    return [*row, one.output[1], one.output[-1], one.agreement[1], distance[0], distance[-1], order_of(distance)]


def order_of(distances: np.ndarray) -> float:
    """Return the order of convergence over the last halving of the step: 1 for Euler's method on a smooth flow."""
    return float(np.log2(distances[-2] / distances[-1])) if distances[-1] > 0 else np.nan


def _sentences(steps: dict[str, list[BlockStep]], finer: dict[str, Refinement]) -> list[str]:
    sentences = []
    for weights, measured in steps.items():
        sizes, one = _column(measured, "size"), finer[weights]
        distance = np.mean(list(one.stages.values()), axis=0)
        kept = "" if np.isnan(one.agreement[1]) else f", and {one.agreement[1]:.0%} of the predictions stay"
        sentences.append(
            f"{weights.capitalize()}: a branch is {sizes.mean():.2f} of the stream on average ({sizes.min():.2f} to "
            f"{sizes.max():.2f}); with two half steps for each block the coarsest map changes by "
            f"{one.output[1]:.0%}{kept}."
        )
        sentences.append(
            f"{weights.capitalize()}: the network's own path through a stage ends {distance[0]:.0%} away from that of "
            f"the ODE, with 8 steps a block {distance[-1]:.1%} (order {order_of(distance):.2f}; Euler's method has 1)."
        )
    return sentences
