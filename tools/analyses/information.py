"""Mutual information of layers with the labels and with the input, by estimators of known bias."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from vertebra.tasks.reporting.charts import INK, Line, draw_line
from vertebra.tasks.reporting.plots import Panel, Plot, draw_legend, draw_panel
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.findings import WEIGHT_LOOKS, Findings
from vertebra.tools.analyses.measures.mutual_information import (
    BINS,
    NEIGHBORS,
    Estimate,
    Estimator,
    Values,
    binned_continuous,
    binned_labels,
    gaussian_classes,
    gaussian_classes_bits,
    gaussian_pair,
    knn_continuous,
    knn_labels,
    with_interval,
)
from vertebra.tools.analyses.networks.blocks import body_of, channels_first, hooked, on_input, on_output
from vertebra.tools.analyses.networks.norm_statistics import compared_modules
from vertebra.tools.analyses.networks.residual_branches import backbone_inputs
from vertebra.tools.analyses.networks.subject import Subject, add_sample_flags, open_subject
from vertebra.tools.analyses.networks.unrolled import in_turn, unrolled_blocks
from vertebra.tools.analyses.progress import track

DESCRIPTION = f"""\
Mutual information of each layer with the labels, I(T; Y), and with the input, I(T; X), in bits. T is represented by the
first principal components of the layer's map averaged over its pixels, X by those of the image. Two estimators: the
{NEIGHBORS} nearest neighbors (Kraskov et al. 2003; for labels Ross 2014), and {BINS} bins of equal counts a component.
The same estimators run on Gaussian variables of known information, with as many samples and components: their bias.

Papers: Opening the Black Box of Deep Neural Networks via Information, Shwartz-Ziv and Tishby 2017,
https://arxiv.org/abs/1703.00810; its limits: Saxe et al. 2018, https://openreview.net/forum?id=ry_WPG-A-, and Goldfeld
et al. 2018, https://arxiv.org/abs/1810.05728. Estimators: https://arxiv.org/abs/cond-mat/0305641 and
https://doi.org/10.1371/journal.pone.0087357.

What one may conclude: how much of the labels a few components of a layer give away, which rises with depth in a trained
classifier. Not: how much the whole layer has, which cannot rise with depth; not a compression of the input, since
I(T; X) of a deterministic network is infinite, and what is measured depends on components, bins and noise.
"""
CAVEAT = (
    "Values are those of a few principal components, a lower bound of the layer's information up to the estimator's "
    "bias and noise; intervals (95%) cover the noise only. Compare with the permuted labels or inputs, whose "
    "information is 0, and with the Gaussian cases: binning overestimates small values and underestimates large ones, "
    "nearest neighbors underestimate large ones."
)
_KNOWN_BITS = (0.0, 0.5, 1.0, 2.0, 3.0)  # of the Gaussian pairs
_KNOWN_SPACINGS = (0.0, 0.5, 1.0, 2.0, 4.0)  # of the Gaussian classes, standard deviations
_ESTIMATORS: Mapping[str, Mapping[str, Estimator]] = {
    "labels": {"nearest neighbors": knn_labels, "binning": binned_labels},
    "input": {"nearest neighbors": knn_continuous, "binning": binned_continuous},
}


class Measured(NamedTuple):
    """Mutual information of one layer.

    Attributes:
        layer: its name: `stem`, or a block.
        variable: `labels` or `input`.
        estimator: its name.
        estimate: in bits.
        permuted: estimate with the labels or inputs permuted among the samples, whose information is 0.
    """

    layer: str
    variable: str
    estimator: str
    estimate: Estimate
    permuted: float


class Known(NamedTuple):
    """An estimator on Gaussian variables of known information.

    Attributes:
        variable: `labels` or `input`, whose estimator it is.
        estimator: its name.
        true: in bits.
        estimate: in bits.
    """

    variable: str
    estimator: str
    true: float
    estimate: Estimate


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of this analysis."""
    parser.add_argument("--components", type=int, default=2, metavar="D", help="principal components (default: 2)")
    parser.add_argument("--repeats", type=int, default=10, metavar="R", help="random halves (default: 10)")
    add_sample_flags(parser, samples=500, batch=50)


def analyze(args: Namespace) -> Findings:
    """Measure the information with random weights, and for a run also with its own."""
    if not 1 <= args.components <= 8 or args.repeats < 2:
        raise ValueError(
            f"--components is {args.components} and --repeats {args.repeats}; choose 1 to 8 components and 2 or more "
            "repeats."
        )
    subject = open_subject(args)
    labels = labels_of(subject)
    images = backbone_inputs(subject)
    modules = compared_modules(subject, args.seed, images)
    inputs = principal_components(torch.cat(images), args.components)
    found = {}
    for weights, module in modules.items():
        layers = pooled_layers(body_of(module.network), images)
        components = {name: principal_components(x, args.components) for name, x in layers.items()}
        found[weights] = measure(components, {"labels": labels, "input": inputs}, args.repeats, args.seed, weights)
    known = measure_known(len(labels), args.components, len(np.unique(labels)), args.repeats, args.seed)
    return _findings(subject, found, known, labels, args)


def labels_of(subject: Subject) -> np.ndarray:
    """Return the class of each sample of a subject, (N,).

    Raises:
        ValueError: samples have no single class, or too few samples.
    """
    found = [getattr(batch, "labels", None) for batch in subject.batches]
    if not all(isinstance(one, Tensor) and one.dim() == 1 and not one.is_floating_point() for one in found):
        raise ValueError(
            f"{subject.name} has no single class for each sample; information is measured for a classifier of images, "
            "clips or scans. Choose one of them."
        )
    labels = torch.cat(found).cpu().numpy()  # type: ignore[arg-type]
    if len(labels) < (least := 20):
        raise ValueError(f"there are {len(labels)} samples; an estimate needs at least {least}. Raise --samples.")
    return labels


@torch.no_grad()
def pooled_layers(body: nn.Module, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the output of the stem and of each block, averaged over its pixels or tokens, (N, C), by name."""
    blocks = unrolled_blocks(body)
    names = ["stem", *(block.name for block in blocks)]
    found: dict[str, list[Tensor]] = {name: [] for name in names}

    def keep(name: str, x: Tensor) -> None:
        found[name].append(channels_first(x).flatten(2).mean(dim=2).cpu() if x.dim() > 2 else x.cpu())

    handles: list[Any] = [on_input(blocks[0].module, lambda x: keep("stem", x))]
    handles += [on_output(*run) for run in in_turn((block.module, partial(keep, block.name)) for block in blocks)]
    with hooked(handles):
        for batch in track(list(images), "features"):
            body(batch)
    if any(len(parts) != len(images) for parts in found.values()):
        raise ValueError(
            f"{type(body).__name__} runs a block more than once in a pass; expected one tensor of each. Choose another "
            "network."
        )
    return {name: torch.cat(parts) for name, parts in found.items()}


def principal_components(x: Tensor, count: int) -> Values:
    """Return the first principal components of samples (N, ...), each of unit variance, (N, count); fewer at most N."""
    features = x.flatten(1).double().cpu()
    features = features - features.mean(dim=0)
    left, scale, _ = torch.linalg.svd(features, full_matrices=False)
    values = left[:, :count] * len(features) ** 0.5
    # directions without variance are rounding errors
    return torch.where(scale[:count] > 1e-9 * scale[0].clamp_min(1e-30), values, 0).numpy()


def measure(
    layers: Mapping[str, Values], variables: Mapping[str, np.ndarray], repeats: int, seed: int, text: str = "layers"
) -> list[Measured]:
    """Estimate the information of each layer about each variable by each estimator.

    Args:
        layers: name to (N, D) components.
        variables: `labels` to (N,), `input` to (N, D).
        repeats: random halves for the interval.
        seed: of halves and permutations.
        text: of the progress bar.
    """
    order = np.random.default_rng(seed).permutation(len(variables["labels"]))
    found = []
    for layer, x in track(list(layers.items()), text):
        for variable, y in variables.items():
            for name, estimator in _ESTIMATORS[variable].items():
                estimate = with_interval(estimator, x, y, repeats, seed)
                found.append(Measured(layer, variable, name, estimate, estimator(x, y[order])))
    return found


def measure_known(count: int, dims: int, classes: int, repeats: int, seed: int) -> list[Known]:
    """Run each estimator on Gaussian variables of known information.

    Args:
        count: number N of samples.
        dims: number D of components.
        classes: number of labels.
        repeats: random halves for the interval.
        seed: of the variables and the halves.
    """
    rng = np.random.default_rng(seed)
    cases: list[tuple[str, float, Values, np.ndarray]] = []
    for bits in _KNOWN_BITS:
        cases.append(("input", bits, *gaussian_pair(bits, count, dims, rng)))
    for spacing in _KNOWN_SPACINGS:
        bits = gaussian_classes_bits(spacing, classes)
        cases.append(("labels", bits, *gaussian_classes(spacing, classes, count, dims, rng)))
    return [
        Known(variable, name, bits, with_interval(estimator, x, y, repeats, seed))
        for variable, bits, x, y in cases
        for name, estimator in _ESTIMATORS[variable].items()
    ]


_TITLES = {"labels": "Information about the labels", "input": "Information about the input"}
_LOOKS = {**WEIGHT_LOOKS, "nearest neighbors": 2, "binning": 3}


def _findings(
    subject: Subject,
    found: Mapping[str, Sequence[Measured]],
    known: Sequence[Known],
    labels: np.ndarray,
    args: Namespace,
) -> Findings:
    entropy = _entropy(labels)
    header = ("weights", "layer", "variable", "estimator", "true", "estimate", "low", "high", "permuted")
    rows: list[list[Any]] = [
        [weights, one.layer, one.variable, one.estimator, np.nan, *one.estimate, one.permuted]
        for weights, measured in found.items()
        for one in measured
    ]
    rows += [["", "Gaussian", one.variable, one.estimator, one.true, *one.estimate, np.nan] for one in known]
    summary = [row for row in rows if row[1] in ("stem", "Gaussian", next(iter(found.values()))[-1].layer)]
    last = {weights: _of(measured, "labels", "nearest neighbors")[-1] for weights, measured in found.items()}
    setting = {
        "network": subject.name,
        "samples": subject.samples,
        "principal components": str(args.components),
        "entropy of the labels": f"{entropy:.3f} bits",
        "seed": str(args.seed),
    }
    return Findings(
        f"Information in the layers of {subject.name}",
        setting,
        {f"I(T; Y) of the last block, {weights}": one.estimate.value for weights, one in last.items()},
        _sentences(found, known, entropy),
        [Plot("information", "Mutual information by depth, with 95% intervals", _drawing(found, known), (990, 530))],
        Table("Mutual information in bits", header, rows),
        Table("Mutual information of the first and last layer, and of known cases, in bits", header, summary),
        CAVEAT,
    )


def _of(measured: Sequence[Any], variable: str, estimator: str) -> list[Any]:
    return [one for one in measured if (one.variable, one.estimator) == (variable, estimator)]


def _entropy(labels: np.ndarray) -> float:
    parts = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(parts * np.log2(parts)).sum())


def _sentences(found: Mapping[str, Sequence[Measured]], known: Sequence[Known], entropy: float) -> list[str]:
    sentences = []
    for weights, measured in found.items():
        first, *_, last = _of(measured, "labels", "nearest neighbors")
        value, low, high = last.estimate
        sentences.append(
            f"{weights.capitalize()}: nearest neighbors find {first.estimate.value:.2f} bits about the labels after "
            f"the stem and {value:.2f} ({low:.2f} to {high:.2f}) after the last block, of {entropy:.2f}; with permuted "
            f"labels {last.permuted:.2f}."
        )
    for name in _ESTIMATORS["input"]:
        errors = [one.estimate.value - one.true for variable in _ESTIMATORS for one in _of(known, variable, name)]
        sentences.append(
            f"Bias of {name} on Gaussian variables of known information: {min(errors):+.2f} to {max(errors):+.2f} bits."
        )
    sentences.append(
        "These are components of a layer, not the layer: its whole information about the labels cannot rise with depth."
    )
    return sentences


def _drawing(found: Mapping[str, Sequence[Measured]], known: Sequence[Known]) -> Any:
    """Return a function that draws a row for each variable: both estimators by depth, and the known cases."""

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(_ESTIMATORS), 3)
        for row, (variable, estimators) in zip(grid, _ESTIMATORS.items(), strict=True):
            for axes, name in zip(row, estimators, strict=False):
                draw_panel(axes, Panel(f"{_TITLES[variable]}, {name}", [], "block (0: stem)", "bits"))
                for weights, measured in found.items():
                    chosen = _of(measured, variable, name)
                    _draw_band(axes, weights, np.arange(len(chosen)), [one.estimate for one in chosen])
                    permuted = [one.permuted for one in chosen]
                    axes.plot(permuted, color=INK, linewidth=0.8, linestyle="dotted", label="permuted, or no bias")
                axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
            cases = Panel(f"Known cases for the {variable}", [], "true bits", "estimated bits")
            draw_panel(row[2], cases)
            for name in estimators:
                chosen = _of(known, variable, name)
                _draw_band(row[2], name, np.array([one.true for one in chosen]), [one.estimate for one in chosen])
            top = max(one.true for one in known if one.variable == variable)
            row[2].plot([0, top], [0, top], color=INK, linewidth=0.8, linestyle="dotted")
        draw_legend(figure, grid.flatten())

    return draw


def _draw_band(axes: Any, name: str, x: np.ndarray, estimates: Sequence[Estimate]) -> None:
    value, low, high = (np.array(column) for column in zip(*estimates, strict=True))
    draw_line(axes, Line(name, x, value, _LOOKS[name]))
    axes.fill_between(x, low, high, color=axes.lines[-1].get_color(), alpha=0.2, linewidth=0)
