"""The sections of a report on anything that is classified: classes, confusion and calibration."""

from __future__ import annotations

import numpy as np

from vertebra.tasks.reporting.charts import Line, confusion_chart, line_chart
from vertebra.tasks.reporting.report import Section, columns, note, table
from vertebra.tasks.scoring.class_metrics import ClassificationResults

_MOST_CLASSES = 30  # of the confusion matrix; more cannot be read
_MOST_CONFUSIONS = 10


def class_sections(results: ClassificationResults, things: str = "images") -> list[Section]:
    """Return what can be said without looking at any sample.

    Args:
        results: what `ClassificationMetric.compute` returns.
        things: what was classified, in the plural.
    """
    return [
        Section("Classes", _classes(results, things)),
        Section("Confusion", _confusion(results)),
        Section("Calibration", _calibration(results, things)),
    ]


def _classes(results: ClassificationResults, things: str) -> str:
    counts = results.confusion.sum(axis=1).tolist()
    values = (results.class_names, counts, results.per_class_accuracy, results.per_class_precision)
    rows = table(["class", things, "accuracy", "precision"], list(zip(*values, strict=True)))
    text = (
        f"Accuracy is the part of the {things} of a class that is found, precision the part of the predictions of a "
        f"class that is right. A dash stands where there were no {things}, or no prediction."
    )
    scored = sum(count > 0 for count in counts)
    if scored < len(counts):
        text = f"Means are over {scored} of {len(counts)} classes: the others have no {things} here. {text}"
    return rows + note(text)


def _confusion(results: ClassificationResults) -> str:
    names, matrix = results.class_names, results.confusion
    wrong = np.where(np.eye(len(names), dtype=bool), 0, matrix)
    shown, text = (
        np.arange(len(names)),
        "Rows are the truth, columns the prediction; the color is the share of the row.",
    )
    if len(names) > _MOST_CLASSES:
        part = wrong.sum(axis=0) + wrong.sum(axis=1)
        shown = np.sort(np.argsort(-part, kind="stable")[:_MOST_CLASSES])
        text += f" Drawn are the {_MOST_CLASSES} of {len(names)} classes that take part in most errors."
    drawn = [names[label] for label in shown]
    largest = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = [(names[i // len(names)], names[i % len(names)], int(wrong.flat[i])) for i in largest if wrong.flat[i]]
    errors = [f"<h3>Most frequent errors</h3>{table(['truth', 'taken for', 'times'], pairs)}"] if pairs else []
    return columns(confusion_chart(matrix[np.ix_(shown, shown)], drawn, drawn), *errors) + note(text)


def _calibration(results: ClassificationResults, things: str) -> str:
    bins = results.reliability
    filled = bins.counts > 0
    if not filled.any():
        return note(f"No {things} were measured.")
    limits = (-0.01, 1.01)
    ends = np.array([0.0, 1.0])
    diagram = [
        Line("as sure as right", ends, ends, look=None),
        Line("measured", bins.confidence[filled], bins.accuracy[filled], look=0),
    ]
    centers = (np.arange(len(bins.counts)) + 0.5) / len(bins.counts)
    shares = [Line(things, centers, bins.counts / bins.counts.sum(), look=0)]
    text = (
        f"Predictions in {len(bins.counts)} bins by their score. Below the diagonal it is surer than it should be, "
        f"above it less sure. The expected calibration error is the mean distance from the diagonal over all {things}."
    )
    return columns(
        line_chart(diagram, "Part that is right", "score", x_limits=limits, y_limits=limits),
        line_chart(shares, f"Part of the {things}", "score", x_limits=limits, y_limits=(0, 1.03)),
    ) + note(text)
