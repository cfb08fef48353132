"""Ablations: a residual network with one part changed at a time, trained small over several seeds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student
from torch.utils.flop_counter import FlopCounterMode

from vertebra.tasks.classification.degradation import train_network
from vertebra.tasks.reporting.charts import INK, PALETTE, hex_color
from vertebra.tasks.reporting.plots import Plot, draw_legend
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.ablations import Variant, variants_of
from vertebra.tools.analyses.findings import Findings
from vertebra.tools.analyses.networks.blocks import body_of
from vertebra.tools.analyses.networks.subject import is_run
from vertebra.tools.analyses.progress import track
from vertebra.tools.degradation import read_images
from vertebra.tools.trained.run import load

DESCRIPTION = """\
Ablations of a residual network for CIFAR: depth, width, shortcut A, B, C and none, bottleneck, pre-activation,
stochastic depth and squeeze-and-excitation, one at a time. Each is trained from the same seeds on the same images as in
`vertebra degradation`; the table has errors with 95 % intervals over seeds, and differences from the baseline, paired
by seed. Of a run, the network of its backbone is trained from scratch, on --data or generated textures.

Papers: Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385, and those named
in the table.

What one may conclude: that a difference of a point or more whose interval excludes 0 exists for these images, sizes
and epochs. Where the published direction does not show it is said: most published gains are a percentage point or less,
after a hundred epochs and more, and cannot be seen in a short training of three seeds. Not: that a part is useless.
"""
CAVEAT = (
    "Intervals are Student's t over seeds. Of ten comparisons without any true difference, at least one interval "
    "excludes 0 by chance in about four tables of ten. Images, epochs and widths are small, and the recipe "
    "is tuned for no variant."
)
_RESOLUTION = 0.01  # smallest difference that counts: few seeds may agree by chance


class Outcome(NamedTuple):
    """Results of a variant over S seeds.

    Attributes:
        variant: the network.
        parameters: of its backbone.
        gmacs: of its backbone for one image.
        train: (S,) training error in the last epoch.
        val: (S,) validation error after it.
    """

    variant: Variant
    parameters: int
    gmacs: float
    train: np.ndarray
    val: np.ndarray


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of this analysis."""
    parser.add_argument("--data", type=Path, metavar="ARCHIVE", help="CIFAR .tar.gz or .npz (default: textures)")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="training images (default: 1000)")
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="epochs per network (default: 10)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="images per batch (default: 32)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings per network (default: 3)")
    parser.add_argument("--only", metavar="FACTOR,...", help="factors to vary: depth,width,shortcut,... (default: all)")


def analyze(args: Namespace) -> Findings:
    """Train all variants over all seeds, and compare them with the baseline."""
    smallest = min(args.images, args.epochs, args.batch_size, args.seeds)
    if smallest < 1:
        raise ValueError(f"--images, --epochs, --batch-size and --seeds must be 1 or more, not {smallest}.")
    name = args.target
    if is_run(name):
        name = getattr(body_of(load(name, device="cpu").network), "name", "")
    variants = chosen(variants_of(name), args.only)
    train, val = read_images(args.data, args.images)
    side = train.read(0).shape[0]
    # seed by seed, so that an interrupted machine's load falls on all variants alike
    jobs = [(index, seed) for seed in range(args.seed, args.seed + args.seeds) for index in range(len(variants))]
    errors: list[list[tuple[float, float]]] = [[] for _ in variants]
    for index, seed in track(jobs, "training"):
        curves = train_network(variants[index].build, train, val, args.epochs, args.batch_size, seed)
        errors[index].append((curves[0][-1], curves[1][-1]))
    outcomes = [
        Outcome(variant, *_size(variant, side), *np.array(found).T)
        for variant, found in zip(variants, errors, strict=True)
    ]
    source = args.data.name if args.data else "generated textures"
    setting = {
        "baseline": name,
        "data": f"{len(train)} training and {len(val)} validation images of {side} x {side} pixels, {source}",
        "training": f"{args.epochs} epochs, batch size {args.batch_size}, recipe of `vertebra degradation`",
        "seeds": f"{args.seed} to {args.seed + args.seeds - 1}",
    }
    return _findings(name, outcomes, setting)


def chosen(variants: Sequence[Variant], only: str | None) -> list[Variant]:
    """Return the baseline and the variants of the factors in a comma-separated list, or all.

    Raises:
        ValueError: there is no such factor.
    """
    factors = list(dict.fromkeys(variant.factor for variant in variants[1:]))
    wanted = only.split(",") if only else factors
    if unknown := [factor for factor in wanted if factor not in factors]:
        raise ValueError(f"--only has {unknown[0]!r}; choose from {', '.join(factors)}.")
    return [variants[0], *(variant for variant in variants[1:] if variant.factor in wanted)]


def interval(values: np.ndarray) -> float:
    """Return half the width of the 95 % interval of the mean of values (S,), by Student's t; NaN for a single one."""
    if len(values) < 2:
        return float("nan")
    return float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def verdict(difference: float, half: float, published: int) -> str:
    """Compare a difference from the baseline with the published direction.

    Args:
        difference: of the validation errors, mean over seeds.
        half: half the width of its interval; NaN for a single seed.
        published: see `Variant.published`.
    """
    if np.isnan(half):
        return "one seed, no interval"
    seen = 0 if abs(difference) <= max(half, _RESOLUTION) else 1 if difference > 0 else -1
    words = {0: "no difference seen", 1: "worse", -1: "better"}[seen]
    if not published:
        return words
    if seen == 0:
        return f"{words}, published: {'worse' if published > 0 else 'better'}"
    return f"{words}, as published" if seen == published else f"{words}, contrary to what is published"


def _size(variant: Variant, side: int) -> tuple[int, float]:
    with torch.device("meta"):
        network = variant.build().eval()
        images = torch.zeros(1, 3, side, side)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return sum(x.numel() for x in network.parameters()), counter.get_total_flops() / 2e9


def _findings(name: str, outcomes: Sequence[Outcome], setting: dict[str, str]) -> Findings:
    baseline = outcomes[0]
    rows, sentences = [], []
    for outcome in outcomes:
        gaps = outcome.val - baseline.val  # paired by seed: both saw the same images in the same order
        half = interval(gaps)
        row = [outcome.variant.factor, outcome.variant.name, outcome.parameters, outcome.gmacs]
        row += [float(outcome.train.mean()), interval(outcome.train), float(outcome.val.mean()), interval(outcome.val)]
        if outcome is baseline:
            rows.append([*row, 0.0, float("nan"), "", ""])
            continue
        judged = verdict(float(gaps.mean()), half, outcome.variant.published)
        rows.append([*row, float(gaps.mean()), half, judged, outcome.variant.source])
        spread = "" if np.isnan(half) else f" ± {half:.3f}"
        sentences.append(
            f"{outcome.variant.factor}, {outcome.variant.name}: validation error {outcome.val.mean():.3f}, "
            f"{gaps.mean():+.3f}{spread} against {baseline.val.mean():.3f}: {judged}."
        )
    header = (
        "factor",
        "variant",
        "parameters",
        "GMACs",
        "training error",
        "± (95 %)",
        "validation error",
        "± (95 %) of it",
        "difference",
        "± (95 %) of the difference",
        "direction",
        "published by",
    )
    best = min(outcomes, key=lambda outcome: float(outcome.val.mean()))
    return Findings(
        f"Ablations of {name}",
        setting,
        {
            f"validation error of {name}": float(baseline.val.mean()),
            f"best: {best.variant.name}": float(best.val.mean()),
        },
        sentences,
        [_plot(outcomes)],
        Table("Ablations", header, rows),
        None,
        CAVEAT,
    )


def _plot(outcomes: Sequence[Outcome]) -> Plot:
    names = [f"{outcome.variant.factor}: {outcome.variant.name}" for outcome in outcomes]
    names[0] = outcomes[0].variant.name

    def draw_errors(axes: Axes, title: str, of: str) -> None:
        means = np.array([getattr(outcome, of).mean() for outcome in outcomes])
        halves = np.nan_to_num([interval(getattr(outcome, of)) for outcome in outcomes])
        places = np.arange(len(outcomes))
        axes.patch.set_alpha(0)
        axes.grid(axis="x", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        bars: dict[str, Any] = {"color": hex_color(PALETTE[0]), "markersize": 5, "linewidth": 1.6}
        axes.errorbar(means, places, xerr=halves, fmt="o", label="mean and 95 % interval", **bars)
        for place, outcome in enumerate(outcomes):
            values = getattr(outcome, of)
            strokes: dict[str, Any] = {"color": hex_color(PALETTE[1]), "markersize": 8, "label": "a seed"}
            axes.plot(values, np.full(len(values), place), "|", **strokes)
        axes.axvline(means[0], color=INK, linewidth=0.8, linestyle="dotted", label="baseline")
        axes.set_title(title, fontsize=11, loc="left")
        axes.set(xlabel="error", ylim=(len(outcomes) - 0.5, -0.5))
        axes.tick_params(axis="y", length=0)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        draw_errors(left, "Validation error", "val")
        draw_errors(right, "Training error", "train")
        left.set_yticks(np.arange(len(outcomes)), names)
        draw_legend(figure, [left])

    return Plot("ablate", "Errors of the variants", draw, (920, 106 + 30 * len(outcomes)))
