"""The sections of a classifier's report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.reporting.class_report import class_sections
from vertebra.tasks.reporting.report import Picture, Section, gallery, note, training_section
from vertebra.tasks.scoring.class_metrics import ClassificationResults

_NUM_WORST, _NUM_BEST = 12, 6
_LONGER_SIDE, _SMALLEST_SIDE = 480, 320  # pixels of a picture in the gallery


def classification_sections(
    results: ClassificationResults, images: LabeledImages | None, metrics_csv: Sequence[Path]
) -> list[Section]:
    """Return the sections of a report, for `vertebra.tasks.reporting.report.write_report`.

    Args:
        results: what `ClassificationMetric.compute` returns.
        images: the split that was measured, for the galleries; None for no galleries.
        metrics_csv: what Lightning's CSVLogger wrote while training, oldest first; empty for no curves.

    Raises:
        FileNotFoundError: a file of `metrics_csv` does not exist.
    """
    training = training_section(metrics_csv)
    return [
        *class_sections(results),
        *([training] if training else []),
        *(_galleries(results, images) if images is not None else []),
    ]


def _galleries(results: ClassificationResults, images: LabeledImages) -> list[Section]:
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


def _picture(results: ClassificationResults, images: LabeledImages, row: int) -> Picture:
    seen, names = results.images, results.class_names
    index, truth = int(seen.indices[row]), names[seen.labels[row]]
    found = f"{names[seen.top_labels[row, 0]]} {seen.top_scores[row, 0]:.3f}"
    remark = f"{found}, as it is" if results.correct[row] else f"taken for {found}, is {truth}"
    name = os.path.basename(str(images.names[index]))
    try:
        pixels = images.read_for_display(index)
    except (OSError, ValueError):  # a report on a hundred images must not fail on one that has gone
        return Picture(None, name, remark)
    longer = max(pixels.shape[:2])
    scale = min(1.0, _LONGER_SIDE / longer)
    if longer < _SMALLEST_SIDE:  # CIFAR's 32 pixels, say: whole pixels stay pixels
        scale = float(-(-_SMALLEST_SIDE // longer))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale <= 1 else cv2.INTER_NEAREST
    return Picture(cv2.resize(pixels, size, interpolation=interpolation), name, remark)
