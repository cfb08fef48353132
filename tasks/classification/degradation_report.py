"""The degradation experiment as a page and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vertebra.tasks.classification.degradation import Curve, Pair, verdict
from vertebra.tasks.reporting.charts import Line, line_chart
from vertebra.tasks.reporting.report import Section, columns, note, table

_COLORS = ("#0072b2", "#d55e00")  # the shallow one, the deep one
_VALIDATION = 6  # looks count six colors in solid lines, then the same six dashed


def degradation_sections(plain: Pair, residual: Pair, setting: str) -> list[Section]:
    """Return the sections of the report, for `vertebra.tasks.reporting.report.write_report`.

    Args:
        plain: networks without shortcuts.
        residual: the same with them.
        setting: data, epochs, seeds and recipe, in a sentence.
    """
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(plain, residual))
    highest = 1.05 * max(c.train.mean(axis=0).max() for pair in (plain, residual) for c in (pair.shallow, pair.deep))
    charts = [
        line_chart(_lines(pair), f"Error of {pair.kind} networks", "epoch", y_limits=(0, highest))
        for pair in (plain, residual)
    ]
    text = "Solid: error on the training images, as they came by. Dashed: on the validation images after each epoch."
    rows = [_row(c) for pair in (plain, residual) for c in (pair.shallow, pair.deep)]
    header = ["network", "training error", "spread", "validation error", "lowest validation error"]
    return [
        Section("Verdict", sentences),
        Section("Error over the epochs", columns(*charts) + note(text)),
        Section(
            "After the last epoch", table(header, rows) + note(f"{setting} Spread: standard deviation over seeds.")
        ),
    ]


def write_figure(file: Path, plain: Pair, residual: Pair) -> None:
    """Draw both kinds side by side on one scale, as the paper's figure 6 does, into a PNG.

    Args:
        file: the picture; its folder exists.
        plain: networks without shortcuts.
        residual: the same with them.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, pair in ((left, plain), (right, residual)):
        for seen, color in zip((pair.shallow, pair.deep), _COLORS, strict=True):
            epochs = np.arange(1, seen.train.shape[1] + 1)
            for errors, style, what in ((seen.train, "-", "training"), (seen.val, "--", "validation")):
                mean = 100 * errors.mean(axis=0)
                axes.plot(epochs, mean, style, color=color, linewidth=1.8, label=f"{seen.name}, {what}")
                if len(errors) > 1:
                    axes.fill_between(
                        epochs, 100 * errors.min(axis=0), 100 * errors.max(axis=0), color=color, alpha=0.12, linewidth=0
                    )
        axes.set(title=pair.kind, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    left.set(ylabel="error (%)", ylim=(0, 1.03 * max(axes.get_ylim()[1] for axes in (left, right))))
    figure.savefig(file)


def _lines(pair: Pair) -> Sequence[Line]:
    lines = []
    for look, seen in ((0, pair.shallow), (3, pair.deep)):
        epochs = np.arange(1, seen.train.shape[1] + 1)
        lines.append(Line(f"{seen.name}, training", epochs, seen.train.mean(axis=0), look))
        lines.append(Line(f"{seen.name}, validation", epochs, seen.val.mean(axis=0), look + _VALIDATION))
    return lines


def _row(seen: Curve) -> list[str | float]:
    final = seen.final_train
    spread = float(final.std(ddof=1)) if len(final) > 1 else float("nan")
    val = seen.val.mean(axis=0)
    return [seen.name, float(final.mean()), spread, float(val[-1]), float(val.min())]
