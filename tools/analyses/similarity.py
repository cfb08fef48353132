"""Similarity of representations: CKA between the blocks of one or two networks."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vertebra.backbones import Backbone, create_backbone, inflate, load_weights
from vertebra.tasks.reporting.charts import Line
from vertebra.tasks.reporting.heatmaps import Heatmap, heatmap_plot
from vertebra.tasks.reporting.plots import Panel, line_plot
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.findings import Findings
from vertebra.tools.analyses.measures.cka import MIN_BATCH, MinibatchCKA, gram
from vertebra.tools.analyses.networks.blocks import body_of, hooked, on_input, on_output
from vertebra.tools.analyses.networks.norm_statistics import with_estimated_statistics
from vertebra.tools.analyses.networks.residual_branches import backbone_inputs
from vertebra.tools.analyses.networks.subject import Subject, add_sample_flags, is_run, open_subject
from vertebra.tools.analyses.networks.unrolled import unrolled_blocks
from vertebra.tools.analyses.progress import track
from vertebra.tools.trained.run import load

DESCRIPTION = """\
Similarity of representations: centered kernel alignment (CKA, linear kernel) of every block with every other one, of
one network, or of two networks on the same samples (--against). A 3-D network is compared with a 2-D one on clips of
one repeated frame, and takes the inflated weights of the 2-D network if it is given by name.

Papers: Similarity of Neural Network Representations Revisited, Kornblith et al. 2019, https://arxiv.org/abs/1905.00414;
with the unbiased estimator over minibatches of Do Wide and Deep Networks Learn the Same Things?, Nguyen et al. 2021,
https://arxiv.org/abs/2010.15327.

What one may conclude: which blocks hold the same representation up to rotation and scale. A large square of high
values is a part of the network that hardly changes it, as in networks that are larger than their task needs. Not: that
similar representations have the same accuracy; CKA is dominated by the directions of the largest variance.
"""
CAVEAT = (
    "CKA compares the samples' similarities to each other, and depends on the samples: with few or uniform ones all "
    "layers look alike. The unbiased estimate is 0 on average for independent representations, and may be negative."
)
_NEXT, _SAME_DEPTH = "Similarity of a block and the next", "Similarity of blocks at the same depth"
_FRAMES = 8  # of a clip of one repeated frame


class Compared(NamedTuple):
    """Similarity of the layers of two networks.

    Attributes:
        title: of the pair, such as `trained and untrained`.
        rows: names of the P layers of the first network: `stem`, and the blocks.
        columns: names of the Q layers of the second network.
        values: (P, Q).
        is_pair: whether they are two networks, not one whose layers are compared with each other.
    """

    title: str
    rows: list[str]
    columns: list[str]
    values: np.ndarray
    is_pair: bool


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of this analysis."""
    parser.add_argument("--against", metavar="RUN_OR_NAME", help="second network (default: the first itself)")
    parser.add_argument(
        "--inflate",
        choices=("mean", "center"),
        default="mean",
        help="how 2-D kernels become 3-D: spread evenly, or in the middle frame (default: mean)",
    )
    add_sample_flags(parser, samples=256, batch=64)


def analyze(args: Namespace) -> Findings:
    """Compare the blocks of a network with each other or with those of a second one."""
    subject = open_subject(args)
    images = [x for x in backbone_inputs(subject) if len(x) >= MIN_BATCH]
    if not images:
        raise ValueError(f"no batch has {MIN_BATCH} samples; unbiased CKA needs them. Raise --samples and --batch.")
    first = body_of(subject.network)
    if not subject.is_trained:
        with_estimated_statistics(first, images)
    if args.against is not None:
        second, what = _second(args, first, images)
        found = [compare(f"{subject.name} and {what}", first, second, images)]
    else:
        weights = "trained" if subject.is_trained else "untrained"
        found = [compare(weights, first, first, images)]
        if subject.is_trained:
            untrained = with_estimated_statistics(body_of(subject.untrained(args.seed).network), images)
            found.append(compare("untrained", untrained, untrained, images))
            found.append(compare("trained and untrained", first, untrained, images))
    return _findings(subject, found, args)


@torch.no_grad()
def compare(title: str, first: nn.Module, second: nn.Module, images: Sequence[Tensor]) -> Compared:
    """Return the CKA of each layer of one backbone with each of another.

    Args:
        title: of the result.
        first: in evaluation mode.
        second: in evaluation mode; where it is for clips and `first` for images, it receives each image as a clip.
        images: batches of at least four, as `first` receives them.
    """
    similarity = MinibatchCKA()
    adapt = adapter(first, second)
    for batch in track(images, title):
        grams = _grams(first, batch)
        similarity.update(grams, grams if second is first else _grams(second, adapt(batch)))
    names = [["stem", *(block.name for block in unrolled_blocks(network))] for network in (first, second)]
    return Compared(title, names[0], names[1], similarity.compute().cpu().numpy(), second is not first)


def adapter(first: nn.Module, second: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what turns the input of one backbone into that of another: the same, or clips of one repeated frame.

    Raises:
        ValueError: the first takes clips and the second images.
    """
    is_clip = [_takes_clips(network) for network in (first, second)]
    if is_clip == [True, False]:
        raise ValueError("the first network takes clips or volumes and the second images; give the 2-D one first.")
    if is_clip == [False, True]:
        return lambda images: images[:, :, None].expand(-1, -1, _FRAMES, -1, -1)
    return lambda images: images


def _takes_clips(network: nn.Module) -> bool:
    return isinstance(network, Backbone) and not isinstance(network.levels[0].reduction, int)


def _second(args: Namespace, first: nn.Module, images: Sequence[Tensor]) -> tuple[nn.Module, str]:
    """Return the backbone of --against in evaluation mode, and its name."""
    if is_run(args.against):
        run = load(args.against)
        return body_of(run.network), args.against
    torch.manual_seed(args.seed + 1)  # other weights than an untrained first network
    second = create_backbone(args.against).to(images[0].device).eval()
    adapt = adapter(first, second)
    if _takes_clips(second) and not _takes_clips(first):
        load_weights(second, inflate(first.state_dict(), second, args.inflate))
        return second, f"{args.against}, inflated ({args.inflate})"
    return with_estimated_statistics(second, [adapt(x) for x in images]), f"{args.against}, untrained"


def _grams(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the Gram matrices of the stem, which is the input of the first block, and of the blocks."""
    blocks = unrolled_blocks(network)
    found: list[Tensor] = []
    handles: list[Any] = [on_input(blocks[0].module, lambda x: found.append(gram(x)))]
    handles += [on_output(module, lambda x: found.append(gram(x))) for module in {block.module for block in blocks}]
    with hooked(handles):
        network(images)
    if len(found) != len(blocks) + 1:
        raise ValueError(
            f"{type(network).__name__} has {len(found) - 1} outputs of {len(blocks)} blocks in a pass; expected one "
            "tensor of each. Choose another network."
        )
    return found


def _findings(subject: Subject, found: Sequence[Compared], args: Namespace) -> Findings:
    maps = [
        Heatmap(
            one.title, one.values, one.rows, one.columns, "layer", "layer of the second" if args.against else "layer"
        )
        for one in found
    ]
    square = [one for one in found if one.values.shape[0] == one.values.shape[1]]
    lines: dict[str, list[Line]] = {}
    for look, one in enumerate(square):
        title, values = _SAME_DEPTH if one.is_pair else _NEXT, one.values.diagonal(0 if one.is_pair else 1)
        lines.setdefault(title, []).append(Line(one.title, np.arange(len(values)), values, look))
    panels = [Panel(title, chosen, "block (0: stem)", "CKA") for title, chosen in lines.items()]
    rows = [
        [one.title, one.rows[i], one.columns[j], value] for one in found for (i, j), value in np.ndenumerate(one.values)
    ]
    summary = [[one.title, *_numbers(one)] for one in found]
    header = ("networks", "mean over all pairs", "same depth, mean", "same depth, least", "next block, mean")
    setting = {"network": subject.name, "samples": subject.samples, "batch": str(args.batch), "seed": str(args.seed)}
    return Findings(
        f"Similarity of representations of {subject.name}" + (f" and {args.against}" if args.against else ""),
        setting | ({"against": args.against} if args.against else {}),
        {f"mean CKA, {one.title}": _numbers(one)[0] for one in found},
        [_sentence(one) for one in found],
        [
            heatmap_plot("similarity", "CKA of every pair of layers", maps, limits=(0, 1), panel=(400, 360)),
            *([line_plot("similarity_by_depth", "CKA by depth", panels)] if panels else []),
        ],
        Table("CKA of every pair of layers", ("networks", "layer", "other layer", "CKA"), rows),
        Table("Similarity of representations", header, summary),
        CAVEAT,
    )


def _numbers(one: Compared) -> tuple[float, float, float, float]:
    """Return the mean over all pairs, mean and least at the same depth, and the mean of each block with the next."""
    if one.values.shape[0] != one.values.shape[1]:
        return float(np.nanmean(one.values)), np.nan, np.nan, np.nan
    same = one.values.diagonal()
    return (
        float(np.nanmean(one.values)),
        float(np.nanmean(same)),
        float(np.nanmin(same)),
        float(np.nanmean(one.values.diagonal(1))),
    )


def _sentence(one: Compared) -> str:
    mean, same, least, following = _numbers(one)
    text = f"{one.title[:1].upper()}{one.title[1:]}: the mean CKA of all pairs of layers is {mean:.2f}"
    if np.isnan(same):
        return f"{text}."
    if one.is_pair:
        return f"{text}, at the same depth {same:.3f} (least {least:.3f})."
    return f"{text}, of a block with the next {following:.2f}."
