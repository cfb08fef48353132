"""Report sections of a classifier: per-class table, confidence curves, confusion matrix, calibration."""

from __future__ import annotations

import numpy as np

from vertebra.tasks.reporting.charts import Line, confusion_chart, line_chart
from vertebra.tasks.reporting.confidence_report import confidence_section
from vertebra.tasks.reporting.report import Part, Section, columns, note
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.scoring.class_metrics import ClassificationResults
from vertebra.tasks.scoring.confidence import confidence_curves

_MAX_CLASSES = 30  # of the confusion matrix; more cannot be read
_MAX_CONFUSIONS = 10


def class_sections(results: ClassificationResults, things: str = "images") -> list[Section]:
    """Return the sections that need no samples.

    Args:
        results: what `ClassificationMetric.compute` returns.
        things: plural noun for the samples, such as `images`.
    """
    confidence = _confidence(results)
    return [
        Section("Classes", *_classes(results, things)),
        *([confidence] if confidence else []),
        Section("Confusion", *_confusion(results)),
        Section("Calibration", *_calibration(results, things)),
    ]


def class_table(results: ClassificationResults, things: str = "images") -> Table:
    """Return recall and precision of each class."""
    counts = results.confusion.sum(axis=1).tolist()
    values = (results.class_names, counts, results.per_class_accuracy, results.per_class_precision)
    return Table("Classes", ["class", things, "recall", "precision"], list(zip(*values, strict=True)))


def _classes(results: ClassificationResults, things: str) -> list[Part]:
    counts = results.confusion.sum(axis=1).tolist()
    text = (
        f"Recall is the fraction of the {things} of a class that are predicted as it, precision the fraction of its "
        f"predictions that are correct. A dash means that there are no {things} or no predictions."
    )
    scored = sum(count > 0 for count in counts)
    if scored < len(counts):
        text = f"Means are over {scored} of {len(counts)} classes; the others have no {things}. {text}"
    return [class_table(results, things), note(text)]


def _confidence(results: ClassificationResults) -> Section | None:
    curves = confidence_curves(
        results.images.top_labels[:, 0],
        results.images.top_scores[:, 0],
        results.correct,
        results.confusion.sum(axis=1),
    )
    return confidence_section(curves, results.class_names, "A prediction is the most probable class of a sample.")


def _confusion(results: ClassificationResults) -> list[Part]:
    names, matrix = results.class_names, results.confusion
    wrong = np.where(np.eye(len(names), dtype=bool), 0, matrix)
    shown, text = (
        np.arange(len(names)),
        "Rows are true classes, columns predicted ones; color is the fraction of the row.",
    )
    if len(names) > _MAX_CLASSES:
        part = wrong.sum(axis=0) + wrong.sum(axis=1)
        shown = np.sort(np.argsort(-part, kind="stable")[:_MAX_CLASSES])
        text += f" Shown are the {_MAX_CLASSES} of {len(names)} classes with the most errors."
    shown_names = [names[label] for label in shown]
    largest = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_CONFUSIONS]
    pairs = [(names[i // len(names)], names[i % len(names)], int(wrong.flat[i])) for i in largest if wrong.flat[i]]
    errors = Table("Most frequent errors", ["true class", "predicted class", "count"], pairs)
    chart = confusion_chart(matrix[np.ix_(shown, shown)], shown_names, shown_names)
    return [columns(chart, *([errors] if pairs else [])), note(text)]


def _calibration(results: ClassificationResults, things: str) -> list[Part]:
    bins = results.reliability
    filled = bins.counts > 0
    if not filled.any():
        return [note(f"No {things} were evaluated.")]
    limits = (-0.01, 1.01)
    ends = np.array([0.0, 1.0])
    diagram = [
        Line("perfect calibration", ends, ends, look=None),
        Line("model", bins.confidence[filled], bins.accuracy[filled], look=0),
    ]
    centers = (np.arange(len(bins.counts)) + 0.5) / len(bins.counts)
    shares = [Line(things, centers, bins.counts / bins.counts.sum(), look=0)]
    text = (
        f"Predictions in {len(bins.counts)} bins by confidence. Below the diagonal the model is overconfident, above "
        f"it underconfident. The expected calibration error is the mean distance from the diagonal over all {things}."
    )
    charts = columns(
        line_chart(diagram, "Reliability diagram", "confidence", "accuracy", x_limits=limits, y_limits=limits),
        line_chart(
            shares,
            "Distribution of confidence",
            "confidence",
            f"fraction of {things}",
            x_limits=limits,
            y_limits=(0, 1.03),
        ),
    )
    return [charts, note(text)]
