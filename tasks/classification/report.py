"""The sections of a classifier's report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tasks.charts import Line, confusion_chart, line_chart
from tasks.classification.labelled_images import LabelledImages
from tasks.classification.metrics import ClassificationResults
from tasks.report import Picture, Section, columns, gallery, note, table, training_section

_MOST_CLASSES = 30  # of the confusion matrix; more cannot be read
_MOST_CONFUSIONS = 10
_NUM_WORST, _NUM_BEST = 12, 6
_LONGER_SIDE, _SMALLEST_SIDE = 480, 320  # pixels of a picture in the gallery


def classification_sections(
    results: ClassificationResults, images: LabelledImages | None, metrics_csv: Sequence[Path]
) -> list[Section]:
    """Return the sections of a report, for `tasks.report.write_report`.

    Args:
        results: what `ClassificationMetric.compute` returns.
        images: the split that was measured, for the galleries; None for no galleries.
        metrics_csv: what Lightning's CSVLogger wrote while training, oldest first; empty for no curves.

    Raises:
        FileNotFoundError: a file of `metrics_csv` does not exist.
    """
    training = training_section(metrics_csv)
    return [
        Section("Classes", _classes(results)),
        Section("Confusion", _confusion(results)),
        Section("Calibration", _calibration(results)),
        *([training] if training else []),
        *(_galleries(results, images) if images is not None else []),
    ]


def _classes(results: ClassificationResults) -> str:
    counts = results.confusion.sum(axis=1).tolist()
    values = (results.class_names, counts, results.per_class_accuracy, results.per_class_precision)
    rows = table(["class", "images", "accuracy", "precision"], list(zip(*values, strict=True)))
    text = (
        "Accuracy is the part of the images of a class that is found, precision the part of the predictions of a class "
        "that is right. A dash stands where there was no image, or no prediction."
    )
    return rows + note(text)


def _confusion(results: ClassificationResults) -> str:
    names, matrix = results.class_names, results.confusion
    wrong = np.where(np.eye(len(names), dtype=bool), 0, matrix)
    shown, text = (
        np.arange(len(names)),
        "Rows are the truth, columns the prediction; the colour is the share of the row.",
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


def _calibration(results: ClassificationResults) -> str:
    bins = results.reliability
    filled = bins.counts > 0
    if not filled.any():
        return note("No image was measured.")
    limits = (-0.01, 1.01)
    ends = np.array([0.0, 1.0])
    diagram = [
        Line("as sure as right", ends, ends, look=None),
        Line("measured", bins.confidence[filled], bins.accuracy[filled], look=0),
    ]
    centres = (np.arange(len(bins.counts)) + 0.5) / len(bins.counts)
    shares = [Line("images", centres, bins.counts / bins.counts.sum(), look=0)]
    text = (
        f"Predictions in {len(bins.counts)} bins by their score. Below the diagonal it is surer than it should "
        "be, above it less sure. The expected calibration error is the mean distance from the diagonal over all images."
    )
    return columns(
        line_chart(diagram, "Part that is right", "score", x_limits=limits, y_limits=limits),
        line_chart(shares, "Part of the images", "score", x_limits=limits, y_limits=(0, 1.03)),
    ) + note(text)


def _galleries(results: ClassificationResults, images: LabelledImages) -> list[Section]:
    surest = np.argsort(-results.images.top_scores[:, 0], kind="stable")
    correct = results.correct[surest]
    sections = []
    for title, rows, text in (
        ("Worst images", surest[~correct][:_NUM_WORST], "Wrong answers, the surest first: look here for wrong labels."),
        ("Best images", surest[correct][:_NUM_BEST], "Right answers, the surest first."),
    ):
        if len(rows):
            pictures = [_picture(results, images, row) for row in rows.tolist()]
            sections.append(Section(title, gallery(pictures) + note(text)))
    return sections


def _picture(results: ClassificationResults, images: LabelledImages, row: int) -> Picture:
    seen, names = results.images, results.class_names
    index, truth = int(seen.indices[row]), names[seen.labels[row]]
    found = f"{names[seen.top_labels[row, 0]]} {seen.top_scores[row, 0]:.3f}"
    remark = f"{found}, as it is" if results.correct[row] else f"taken for {found}, is {truth}"
    name = os.path.basename(str(images.names[index]))
    try:
        pixels = images.read(index)
    except (OSError, ValueError):  # a report on a hundred images must not fail on one that has gone
        return Picture(None, name, remark)
    longer = max(pixels.shape[:2])
    scale = min(1.0, _LONGER_SIDE / longer)
    if longer < _SMALLEST_SIDE:  # CIFAR's 32 pixels, say: whole pixels stay pixels
        scale = float(-(-_SMALLEST_SIDE // longer))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale <= 1 else cv2.INTER_NEAREST
    return Picture(cv2.resize(pixels, size, interpolation=interpolation), name, remark)
