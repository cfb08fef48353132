"""Report section of precision, recall and F1 over the confidence threshold."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from vertebra.tasks.reporting.charts import NUM_LOOKS, Line, line_chart
from vertebra.tasks.reporting.report import Section, columns, note
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.scoring.confidence import ConfidenceCurves

_MOST_CURVES = 10
_LIMITS = (-0.01, 1.01)  # lines along an edge of 0..1 would be clipped to half their width


def confidence_section(curves: ConfidenceCurves, class_names: Sequence[str], counted: str) -> Section | None:
    """Return F1, precision and recall over the confidence threshold, or None where no class has truth.

    Args:
        curves: of the K classes.
        class_names: their names.
        counted: what a prediction is and when it is right, as a sentence.
    """
    known = np.flatnonzero(~np.isnan(curves.f1[0]))
    if not len(known):
        return None
    text = f"{counted} A higher threshold leaves fewer and more certain predictions."
    shown = known
    if len(known) > _MOST_CURVES:
        ranked = known[np.argsort(-curves.f1[:, known].max(axis=0), kind="stable")]
        half = _MOST_CURVES // 2
        shown = np.concatenate([ranked[:half], ranked[-half:]])
        text += f" Drawn are the mean over {len(known)} classes, and the {half} best and the {half} worst of them."
    charts = []
    for title, values in (("F1", curves.f1), ("Precision", curves.precision), ("Recall", curves.recall)):
        lines = [
            Line(class_names[k], curves.thresholds, values[:, k], _look(k, i, shown))
            for i, k in enumerate(shown.tolist())
        ]
        if len(known) > 1:
            lines.append(Line("mean over classes", curves.thresholds, _mean(values[:, known]), look=None))
        chart = line_chart(
            lines,
            title,
            "confidence threshold",
            title if title == "F1" else title.lower(),
            x_limits=_LIMITS,
            y_limits=(-0.02, 1.03),
        )
        charts.append(chart)
    return Section("Confidence", columns(*charts), _best_thresholds(curves, class_names, known), note(text))


def _best_thresholds(curves: ConfidenceCurves, class_names: Sequence[str], known: np.ndarray) -> Table:
    scores = (curves.precision, curves.recall, curves.f1)
    rows = [_at_best(class_names[k], curves.thresholds, *(values[:, k] for values in scores)) for k in known.tolist()]
    if len(known) > 1:
        rows.insert(0, _at_best("mean over classes", curves.thresholds, *(_mean(one[:, known]) for one in scores)))
    return Table("Best thresholds", ["class", "threshold", "F1", "precision", "recall"], rows)


def _at_best(
    name: str, thresholds: np.ndarray, precision: np.ndarray, recall: np.ndarray, f1: np.ndarray
) -> list[str | float]:
    # the middle of the thresholds with the best F1, which is the furthest from a change
    if not f1.max():
        return [name, float("nan"), 0.0, float("nan"), float("nan")]
    best = np.flatnonzero(f1 == f1.max())
    i = int(best[len(best) // 2])
    return [name, float(thresholds[i]), float(f1[i]), float(precision[i]), float(recall[i])]


def _look(label: int, index: int, shown: np.ndarray) -> int:
    # the color that the class has in pictures, as long as all shown classes can have theirs
    return label if shown.max() < NUM_LOOKS else index


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over classes (T,); NaN where it is undefined for all of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no class has a prediction left
        return np.nanmean(values, axis=1)
