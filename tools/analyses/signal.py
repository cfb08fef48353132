"""Signal propagation: activations and gradients by depth, with random and with trained weights."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.reporting.charts import Line
from vertebra.tasks.reporting.plots import Panel, line_plot
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.findings import NEW_STAGE, WEIGHT_LOOKS, Findings
from vertebra.tools.analyses.networks.blocks import Block, channels_first, hooked, on_input, on_output
from vertebra.tools.analyses.networks.subject import (
    Subject,
    add_sample_flags,
    loss_of,
    open_subject,
    with_batch_statistics,
)
from vertebra.tools.analyses.networks.unrolled import in_turn, unrolled_blocks
from vertebra.tools.analyses.progress import track

DESCRIPTION = """\
Signal propagation: mean, variance and norm of the activations and of their gradients after each block, the average
channel variance at the end of each residual branch, and the norm of each block's weight gradient. With random weights,
and for a run also with its own. Batch norms use the statistics of the batch, as in training.

Paper: Characterizing signal propagation to close the performance gap in unnormalized ResNets, Brock et al. 2021,
https://arxiv.org/abs/2101.08692.

What one may conclude: in a residual network with norms inside its branches each block adds about the same variance, so
that the variance grows linearly within a stage, and falls back where a stage begins with a projection of normalized
activations (pre-activation networks). A gradient that grows or shrinks by orders of magnitude from the last block to
the first, as in deep plain networks, hinders training. Not: which of two networks is more accurate.
"""
CAVEAT = (
    "Gradients are those of the mean loss of one batch. Values depend on the samples and the seed; their course over "
    "depth hardly does. Norms of activations compare within a stage only: stages differ in the size of their maps."
)
_LINEAR = 0.9  # coefficient of determination from which a growth is called linear


@dataclass
class Reading:
    """Statistics of a block's output x, maps (N, C, ...) or tokens (N, L, C), and of the gradient of the loss in x.

    Attributes:
        mean: of all values.
        variance: of all values.
        norm: root mean square over samples of the Euclidean norm.
        channel_squared_mean: mean over channels of the squared mean of a channel.
        channel_variance: mean over channels of the variance of a channel.
        branch_variance: the same at the end of the residual branch; NaN without one.
        gradient_mean: of all values of the gradient.
        gradient_variance: of all values of the gradient.
        gradient_norm: Euclidean norm of the gradient.
        weight_gradient_norm: Euclidean norm of the gradient of all parameters of the block.
    """

    mean: float = np.nan
    variance: float = np.nan
    norm: float = np.nan
    channel_squared_mean: float = np.nan
    channel_variance: float = np.nan
    branch_variance: float = np.nan
    gradient_mean: float = np.nan
    gradient_variance: float = np.nan
    gradient_norm: float = np.nan
    weight_gradient_norm: float = np.nan


class Growth(NamedTuple):
    """Linear fit of the channel variance over the blocks of a stage.

    Attributes:
        stage: its name.
        blocks: number of its blocks.
        first: channel variance after its first block.
        last: channel variance after its last block.
        slope: increase per block.
        r2: coefficient of determination, 1 where the growth is linear; NaN below three blocks.
    """

    stage: str
    blocks: int
    first: float
    last: float
    slope: float
    r2: float


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of this analysis."""
    add_sample_flags(parser, samples=32)


def analyze(args: Namespace) -> Findings:
    """Trace a batch through the network with random weights, and for a run with its own."""
    args.batch = args.samples  # of one batch, whose statistics the norms use
    subject = open_subject(args).in_halves()
    modules = {"untrained": subject.untrained(args.seed)} | ({"trained": subject.module} if subject.is_trained else {})
    readings, blocks = {}, unrolled_blocks(subject.network)
    for name, module in track(list(modules.items()), "signal"):
        traced = with_batch_statistics(module)
        readings[name] = trace(unrolled_blocks(traced.network), partial(loss_of, traced, subject.batches[0]))
    return _findings(subject, blocks, readings, args.seed)


def trace(blocks: Sequence[Block], loss: Callable[[], Tensor]) -> list[Reading]:
    """Run a network once forward and backward, and read activations and gradients at its blocks.

    Args:
        blocks: of the network, from input to output.
        loss: runs the network and returns the loss, a scalar.

    Returns:
        The input of the first block, and the output of each block.
    """
    readings = [Reading() for _ in range(len(blocks) + 1)]
    handles = [on_input(blocks[0].module, partial(_read, readings[0]))]
    pairs = list(zip(blocks, readings[1:], strict=True))
    ends = [(block.branch_end, partial(_read_branch, one)) for block, one in pairs if block.branch_end is not None]
    outputs = [(block.module, partial(_read, one)) for block, one in pairs]
    handles += [on_output(*run) for run in (*in_turn(ends), *in_turn(outputs))]
    for block in blocks:
        block.module.zero_grad()
    with hooked(handles), torch.enable_grad():
        loss().backward()
    for block, reading in zip(blocks, readings[1:], strict=True):
        gradients = [x.grad.flatten().double() for x in block.module.parameters() if x.grad is not None]
        reading.weight_gradient_norm = float(torch.cat(gradients).norm()) if gradients else np.nan
    return readings


def fit_growth(blocks: Sequence[Block], readings: Sequence[Reading]) -> list[Growth]:
    """Fit the channel variance over the blocks of each stage; `readings` as `trace` returns them."""
    growths, pairs = [], zip(blocks, readings[1:], strict=True)
    for stage, group in groupby(pairs, key=lambda pair: pair[0].stage):
        values = np.array([reading.channel_variance for _, reading in group])
        slope, r2 = _linear_fit(values)
        growths.append(Growth(stage, len(values), float(values[0]), float(values[-1]), slope, r2))
    return growths


def _linear_fit(values: np.ndarray) -> tuple[float, float]:
    """Return slope and coefficient of determination of values (N,) over their index."""
    if len(values) < 2 or not np.isfinite(values).all():
        return np.nan, np.nan
    index = np.arange(len(values))
    slope, offset = np.polyfit(index, values, 1)
    residual, total = ((values - slope * index - offset) ** 2).sum(), ((values - values.mean()) ** 2).sum()
    return float(slope), float(1 - residual / total) if len(values) > 2 and total > 0 else np.nan


def _read(reading: Reading, x: Tensor) -> None:
    # at once and not later: the next layer may change x in place
    with torch.no_grad():
        values = x.detach().double()
        reading.mean, reading.variance = float(values.mean()), float(values.var(correction=0))
        reading.norm = float(values.norm()) / len(values) ** 0.5
        reading.channel_squared_mean, reading.channel_variance = _by_channel(values)

    def read_gradient(gradient: Tensor) -> None:
        values = gradient.detach().double()
        reading.gradient_mean, reading.gradient_variance = float(values.mean()), float(values.var(correction=0))
        reading.gradient_norm = float(values.norm())

    if x.requires_grad:
        x.register_hook(read_gradient)


def _read_branch(reading: Reading, x: Tensor) -> None:
    reading.branch_variance = _by_channel(x.detach().double())[1]


def _by_channel(x: Tensor) -> tuple[float, float]:
    """Return squared mean and variance of the channels of maps or tokens, each averaged over the channels."""
    x = channels_first(x)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    mean = x.mean(dim=axes)
    variance = x.var(dim=axes, correction=0)
    return float(mean.square().mean()), float(variance.mean())


_PANELS = (
    ("channel_squared_mean", "Average channel squared mean", "squared mean", False),
    ("channel_variance", "Average channel variance", "variance", False),
    ("branch_variance", "At the end of the residual branch", "variance", False),
    ("norm", "Activations", "norm", True),
    ("gradient_norm", "Gradient of the activations", "norm", True),
    ("weight_gradient_norm", "Gradient of the weights", "norm", True),
)


def _findings(subject: Subject, blocks: Sequence[Block], readings: dict[str, list[Reading]], seed: int) -> Findings:
    depth = np.arange(len(blocks) + 1)
    starts = [i + 0.5 for i, (a, b) in enumerate(pairwise(blocks), start=1) if a.stage != b.stage]
    panels = []
    for field, title, label, log in _PANELS:
        lines = [Line(name, depth, _column(rows, field), WEIGHT_LOOKS[name]) for name, rows in readings.items()]
        if any(np.isfinite(line.y).any() for line in lines):  # a plain network has no branch
            panels.append(Panel(title, lines, "block", label, log_y=log, marks=starts, marks_name=NEW_STAGE))
    names = [field.name for field in fields(Reading)]
    header = ["weights", "depth", "block", "stage", *(name.replace("_", " ") for name in names)]
    places = [("input", ""), *((block.name, block.stage) for block in blocks)]
    rows = [
        [weights, index, *place, *(getattr(reading, name) for name in names)]
        for weights, found in readings.items()
        for index, (place, reading) in enumerate(zip(places, found, strict=True))
    ]
    growths = {name: fit_growth(blocks, found) for name, found in readings.items()}
    summary = [[name, *growth] for name, found in growths.items() for growth in found]
    title = "Growth of the channel variance in each stage"
    columns = ("weights", "stage", "blocks", "after first block", "after last block", "slope per block", "R²")
    sentences = [sentence for name, found in readings.items() for sentence in _sentences(name, found, growths[name])]
    headline = {f"gradient first / last block, {name}": gradient_ratio(found) for name, found in readings.items()}
    setting = {"network": subject.name, "samples": subject.samples, "blocks": str(len(blocks)), "seed": str(seed)}
    return Findings(
        f"Signal propagation of {subject.name}",
        setting,
        headline,
        sentences,
        [line_plot("signal", "Signal by depth", panels)],
        Table("Signal by depth", header, rows),
        Table(title, columns, summary),
        CAVEAT,
    )


def gradient_ratio(readings: Sequence[Reading]) -> float:
    """Return the norm of the gradient at the input of the first block over that at the output of the last one."""
    norms = _column(readings, "gradient_norm")
    norms = norms[np.isfinite(norms)]
    return float(norms[0] / norms[-1]) if len(norms) and norms[-1] > 0 else np.nan


def _sentences(weights: str, readings: Sequence[Reading], growths: Sequence[Growth]) -> list[str]:
    name, found = weights.capitalize(), []
    fitted = [growth for growth in growths if np.isfinite(growth.r2)]
    if fitted:
        linear = sum(growth.slope > 0 and growth.r2 >= _LINEAR for growth in fitted)
        found.append(
            f"{name}: the channel variance grows linearly within {linear} of {len(fitted)} stages (R² of "
            f"{', '.join(f'{growth.r2:.2f}' for growth in fitted)}; linear from {_LINEAR} on)."
        )
    resets = sum(after.first < before.last for before, after in pairwise(growths))
    if len(growths) > 1:
        found.append(
            f"{name}: the channel variance falls back at {resets} of {len(growths) - 1} transitions between stages."
        )
    ratio = gradient_ratio(readings)
    found.append(f"{name}: the gradient before the first block is {ratio:.3g} times that after the last one.")
    return found


def _column(readings: Sequence[Reading], name: str) -> np.ndarray:
    return np.array([getattr(reading, name) for reading in readings], dtype=float)
