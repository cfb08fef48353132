"""Lesion study: error after deleting or reordering blocks, and path lengths of residual networks."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import kendalltau
from torch import nn

from vertebra.tasks.reporting.charts import Line
from vertebra.tasks.reporting.plots import Panel, line_plot
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.findings import Findings
from vertebra.tools.analyses.measures.paths import Paths, measure_paths, path_panels, path_sentences, path_table
from vertebra.tools.analyses.networks.blocks import Block, blocks_of, body_of, hooked
from vertebra.tools.analyses.networks.subject import Subject, add_sample_flags, loss_of, open_subject, score_of
from vertebra.tools.analyses.networks.surgery import deletion, keeps_shape, reordered, swapped
from vertebra.tools.analyses.progress import track

DESCRIPTION = """\
Lesion study: the error (1 minus the metric that selects the task's best checkpoint) after deleting each block, after
deleting n random ones, and after swapping random pairs of blocks. Deleting removes the residual branch; a block
without one becomes the identity where its output has the shape of its input. In residual networks also the
distribution of path lengths, which is binomial, and the gradient that flows along paths of each length; not in momentum
ResNets and ODE-Nets, in which a branch acts on all later states.

Paper: Residual Networks Behave Like Ensembles of Relatively Shallow Networks, Veit et al. 2016,
https://arxiv.org/abs/1605.06431.

What one may conclude: in a trained residual network the error rises smoothly with the number of blocks deleted or
swapped, since most paths remain; in a plain one deleting a single block leaves chance. Most of the gradient comes from
paths much shorter than the network. Not: that the deleted blocks are useless, as the network was trained with them.
An untrained network has the error of chance, whatever is deleted; of it only the path lengths mean anything.
"""
CAVEAT = (
    "Nothing is trained after a lesion, and running statistics of norms stay those of the whole network. The gradient "
    "is that of the training loss of the first batch at the input of the first block."
)
_POINTS = 8  # numbers of deleted blocks, and of swaps, that are tried


class Lesion(NamedTuple):
    """Result of one lesion.

    Attributes:
        kind: `none`, `delete one`, `delete n` or `swap n`.
        number: of deleted blocks, or of swaps.
        blocks: names of the blocks concerned.
        trial: number of the random choice.
        correlation: Kendall's rank correlation between the new and the old order of the blocks; 1 where it is kept.
        error: of the network after it.
    """

    kind: str
    number: int
    blocks: str
    trial: int
    correlation: float
    error: float


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of this analysis."""
    add_sample_flags(parser, samples=256, batch=64)
    parser.add_argument("--trials", type=int, default=5, metavar="N", help="random choices for each n (default: 5)")
    parser.add_argument("--paths", type=int, default=8, metavar="N", help="random paths of each length (default: 8)")


def analyze(args: Namespace) -> Findings:
    """Measure the error after each lesion, and the gradient by path length."""
    for name in ("trials", "paths"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} is {getattr(args, name)}; give a number of 1 or more.")
    subject = open_subject(args).in_halves()
    module, blocks = subject.module, blocks_of(subject.network)
    kept = keeps_shape(blocks, lambda: score_of(module, subject.batches[:1]))
    lesions = study(body_of(subject.network), blocks, kept, lambda: 1 - score_of(module, subject.batches), args)
    residual = [block for block in blocks if block.branch_end is not None]
    # with momentum or in an ODE a branch acts on all later states, and there is no choice between it and a shortcut
    has_paths = bool(residual) and not any(block.is_increment for block in blocks)
    loss = partial(loss_of, module, subject.batches[0])
    paths = measure_paths(residual, loss, args.paths, args.seed) if has_paths else None
    return _findings(subject, len(blocks), lesions, paths, args)


def study(
    body: nn.Module,
    blocks: Sequence[Block],
    kept: Sequence[Any],
    error: Callable[[], float],
    args: Namespace,
) -> list[Lesion]:
    """Measure the error after all lesions.

    Args:
        body: holds the blocks under their names.
        blocks: from input to output.
        kept: as `keeps_shape` returns it.
        error: runs the network and returns its error.
        args: `trials` and `seed`.
    """
    rng = np.random.default_rng(args.seed)
    deletable = [
        block for block, shape in zip(blocks, kept, strict=True) if block.branch_end is not None or shape is not None
    ]
    lesions = [Lesion("none", 0, "", 0, 1.0, error())]
    for block in track(deletable, "delete one block"):
        with hooked(deletion([block])):
            lesions.append(Lesion("delete one", 1, block.name, 0, 1.0, error()))
    for number in track(spread(len(deletable)), "delete n blocks"):
        for trial in range(args.trials):
            chosen = [deletable[i] for i in sorted(rng.choice(len(deletable), number, replace=False).tolist())]
            with hooked(deletion(chosen)):
                names = " ".join(block.name for block in chosen)
                lesions.append(Lesion("delete n", number, names, trial, 1.0, error()))
    # a block fits in the place of another if both keep the same shape and are in one stage
    kinds = [None if shape is None else (block.stage, shape) for block, shape in zip(blocks, kept, strict=True)]
    if len({kind for kind in kinds if kind is not None}) < sum(kind is not None for kind in kinds):
        for number in track(spread(len(blocks)), "swap blocks"):
            for trial in range(args.trials):
                order = swapped(kinds, number, rng)
                moved = " ".join(
                    block.name for block, source in zip(blocks, order, strict=True) if blocks[source] != block
                )
                correlation = float(kendalltau(range(len(order)), order).statistic)
                with reordered(body, blocks, order):
                    lesions.append(Lesion("swap n", number, moved, trial, correlation, error()))
    return lesions


def spread(largest: int) -> list[int]:
    """Return up to 8 numbers from 1 to `largest`, evenly spaced."""
    return sorted({round(value) for value in np.linspace(1, largest, min(_POINTS, largest))})


def _findings(
    subject: Subject, num_blocks: int, lesions: Sequence[Lesion], paths: Paths | None, args: Namespace
) -> Findings:
    label = f"1 - {subject.module.monitor[0].removeprefix('val/')}"
    whole = lesions[0].error
    singles = [lesion for lesion in lesions if lesion.kind == "delete one"]
    worst = max(singles, key=lambda lesion: lesion.error)
    typical = median(lesion.error for lesion in singles)
    panels = _panels(lesions, label)
    sentences = [
        f"The error ({label}) is {whole:.3f}; without one of {len(singles)} blocks it is {typical:.3f} (median) and at "
        f"most {worst.error:.3f} (without {worst.blocks}).",
        *_sentences(lesions, args.trials),
    ]
    further = {}
    headline = {"error": whole, "without one block (median)": typical, "(worst)": worst.error}
    if paths is not None:
        panels += path_panels(paths)
        further["paths"] = path_table(paths)
        sentences += path_sentences(paths)
        headline["mean path length by gradient"] = float((paths.shares * np.arange(len(paths.shares))).sum())
    header = ("lesion", "number", "blocks", "trial", "rank correlation of the order", "error")
    return Findings(
        f"Lesion study of {subject.name}",
        {
            "network": subject.name + ("" if subject.is_trained else ", untrained"),
            "samples": subject.samples,
            "blocks": f"{num_blocks}, of which {len(singles)} can be deleted",
            "seed": str(args.seed),
        },
        headline,
        sentences,
        [line_plot("lesion", "Error after lesions, and paths", panels)],
        Table("Lesions", header, [[*lesion] for lesion in lesions]),
        Table("One block deleted", ("block", "error"), [[lesion.blocks, lesion.error] for lesion in singles]),
        CAVEAT,
        further,
    )


def _panels(lesions: Sequence[Lesion], label: str) -> list[Panel]:
    whole = lesions[0].error
    errors = [lesion.error for lesion in lesions if lesion.kind == "delete one"]
    single = [
        Line("one block deleted", np.arange(1, len(errors) + 1), np.array(errors), 0),
        Line("whole network", np.array([1, len(errors)]), np.array([whole, whole]), None),
    ]
    panels = [
        Panel("One block deleted", single, "deleted block", label),
        Panel("n random blocks deleted", _over(lesions, "delete n", whole), "deleted blocks", label),
    ]
    if _by_number(lesions, "swap n"):
        panels.append(Panel("Random pairs swapped", _over(lesions, "swap n", whole), "swaps", label))
    return panels


def _sentences(lesions: Sequence[Lesion], trials: int) -> list[str]:
    sentences = []
    for kind, words in (("delete n", "deleted"), ("swap n", "swaps")):
        means = {number: float(np.mean(errors)) for number, errors in _by_number(lesions, kind).items()}
        if means:
            few = [f"{number}: {error:.3f}" for number, error in list(means.items())[:: max(1, len(means) // 4)]]
            sentences.append(f"Mean error over {trials} random choices by number of {words}: {', '.join(few)}.")
    return sentences


def _by_number(lesions: Sequence[Lesion], kind: str) -> dict[int, list[float]]:
    """Return the errors of all choices by the number of blocks deleted or of swaps, in ascending order."""
    numbers = sorted({lesion.number for lesion in lesions if lesion.kind == kind})
    return {number: [one.error for one in lesions if (one.kind, one.number) == (kind, number)] for number in numbers}


def _over(lesions: Sequence[Lesion], kind: str, whole: float) -> list[Line]:
    """Return the mean, least and greatest error by the number of lesions, from the whole network on."""
    by_number = _by_number(lesions, kind)
    x = np.array([0, *by_number])
    lines = []
    for name, pick, look in (("mean", np.mean, 0), ("least", np.min, 5), ("greatest", np.max, 3)):
        lines.append(Line(f"{name} of the random choices", x, np.array([whole, *map(pick, by_number.values())]), look))
    return lines
