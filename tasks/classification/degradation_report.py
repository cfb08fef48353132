"""Report sections and figure of the degradation experiment."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vertebra.tasks.classification.degradation import Curve, Pair, conclusions
from vertebra.tasks.reporting.charts import Line, line_chart
from vertebra.tasks.reporting.report import Section, columns, note
from vertebra.tasks.reporting.tables import Table

_COLORS = ("#0072b2", "#d55e00")  # shallow and deep; blue and vermilion of Okabe and Ito, safe for color blindness
_HEADER = ["network", "training error", "std over seeds", "validation error", "minimum validation error"]
_DASHED = 6  # offset of the dashed line styles: charts number six colors solid, then the same six dashed


def degradation_sections(plain: Pair, residual: Pair, setting: str) -> list[Section]:
    """Return the report sections, for `vertebra.tasks.reporting.report.write_report`.

    Args:
        plain: networks without shortcuts.
        residual: the same networks with shortcuts.
        setting: data, epochs, seeds and recipe, in a sentence.
    """
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in conclusions(plain, residual))
    curves = [curve for pair in (plain, residual) for curve in (pair.shallow, pair.deep)]
    # both charts share an axis, so that the gaps can be compared
    y_max = 1.05 * max(curve.train.mean(axis=0).max() for curve in curves)
    charts = [
        line_chart(_lines(pair), f"Error of {pair.kind} networks", "epoch", "error", y_limits=(0, y_max))
        for pair in (plain, residual)
    ]
    text = "Solid: training error during the epoch, on augmented images. Dashed: validation error after the epoch."
    rows = [_row(curve) for curve in curves]
    return [
        Section("Conclusion", sentences),
        Section("Learning curves", columns(*charts), note(text)),
        Section("Final errors", Table("Final errors", _HEADER, rows), note(f"{setting} Errors are means over seeds.")),
    ]


def write_figure(file: Path, plain: Pair, residual: Pair) -> None:
    """Plot plain and residual learning curves side by side as a PNG, as in figure 6 of the paper.

    Args:
        file: path of the PNG in an existing folder.
        plain: networks without shortcuts.
        residual: the same networks with shortcuts.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, pair in ((left, plain), (right, residual)):
        for curve, color in zip((pair.shallow, pair.deep), _COLORS, strict=True):
            epochs = np.arange(1, curve.train.shape[1] + 1)
            for errors, style, split in ((curve.train, "-", "training"), (curve.val, "--", "validation")):
                mean = 100 * errors.mean(axis=0)
                axes.plot(epochs, mean, style, color=color, linewidth=1.8, label=f"{curve.name}, {split}")
                if len(errors) > 1:  # the range over seeds
                    axes.fill_between(
                        epochs, 100 * errors.min(axis=0), 100 * errors.max(axis=0), color=color, alpha=0.12, linewidth=0
                    )
        axes.set(title=pair.kind, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    left.set(ylabel="error (%)", ylim=(0, 1.03 * max(axes.get_ylim()[1] for axes in (left, right))))
    figure.savefig(file)


def history_section(history: Sequence[Curve]) -> Section:
    """Return the section with the learning curves of the networks in the order of their publication."""
    lines = [
        Line(curve.name, np.arange(1, curve.train.shape[1] + 1), curve.train.mean(axis=0), style)
        for style, curve in enumerate(history)
    ]
    text = (
        "Training error during each epoch. AlexNet (2012) and VGG (2014) are versions for small images, with batch "
        "norms and without fully connected layers, so that one recipe trains all networks; they differ from the others "
        "in width, too."
    )
    rows = [_row(curve) for curve in history]
    chart = line_chart(lines, "From AlexNet to ResNet", "epoch", "training error")
    return Section("From AlexNet to ResNet", chart, Table("From AlexNet to ResNet", _HEADER, rows), note(text))


def write_history(file: Path, history: Sequence[Curve]) -> None:
    """Plot final training and validation errors of the networks side by side as a PNG.

    Args:
        file: path of the PNG in an existing folder.
        history: curves of the networks, in the order of their publication.
    """
    figure = Figure(figsize=(8, 4.2), layout="constrained", dpi=150)
    axes, places = figure.subplots(), np.arange(len(history))
    for offset, color, split in ((-0.2, _COLORS[0], "training"), (0.2, _COLORS[1], "validation")):
        finals = [100 * (curve.train if split == "training" else curve.val)[:, -1] for curve in history]
        means = np.array([final.mean() for final in finals])
        # the range over seeds
        bars = np.array([(mean - final.min(), final.max() - mean) for mean, final in zip(means, finals, strict=True)]).T
        axes.bar(places + offset, means, 0.38, color=color, label=f"{split} error", yerr=bars, capsize=3)
    axes.set_xticks(places, [curve.name for curve in history])
    axes.set(ylabel="error after the last epoch (%)")
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize="small")  # bars may fill the axes
    figure.savefig(file)


def _lines(pair: Pair) -> Sequence[Line]:
    lines = []
    for style, curve in ((0, pair.shallow), (3, pair.deep)):
        epochs = np.arange(1, curve.train.shape[1] + 1)
        lines.append(Line(f"{curve.name}, training", epochs, curve.train.mean(axis=0), style))
        lines.append(Line(f"{curve.name}, validation", epochs, curve.val.mean(axis=0), style + _DASHED))
    return lines


def _row(curve: Curve) -> list[str | float]:
    final = curve.final_train
    std = float(final.std(ddof=1)) if len(final) > 1 else float("nan")
    val = curve.val.mean(axis=0)
    return [curve.name, float(final.mean()), std, float(val[-1]), float(val.min())]
