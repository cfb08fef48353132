"""The sections of a classifier's report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vertebra.tasks.reporting.class_report import class_sections
from vertebra.tasks.reporting.report import Picture, Section, gallery, note, training_section
from vertebra.tasks.scoring.class_metrics import ClassificationResults

_NUM_WORST, _NUM_BEST = 12, 6
_LONGER_SIDE, _SMALLEST_SIDE = 480, 320  # pixels of a picture in the gallery


class Example(NamedTuple):
    """An image that is shown.

    Attributes:
        row: of the image in the results.
        pixels: (H, W, 3) uint8 RGB in the size of the gallery, or None where it can no longer be read.
    """

    row: int
    pixels: np.ndarray | None


def rows_to_show(results: ClassificationResults) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `results` for the galleries: the errors and the correct predictions, most confident first."""
    by_score = np.argsort(-results.images.top_scores[:, 0], kind="stable")
    correct = results.correct[by_score]
    return by_score[~correct][:_NUM_WORST], by_score[correct][:_NUM_BEST]


def scaled_for_gallery(pixels: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 in the size of the gallery; a page of photographs at full size is too heavy."""
    longer = max(pixels.shape[:2])
    scale = min(1.0, _LONGER_SIDE / longer)
    if longer < _SMALLEST_SIDE:  # CIFAR's 32 pixels, say: whole pixels stay pixels
        scale = float(-(-_SMALLEST_SIDE // longer))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale <= 1 else cv2.INTER_NEAREST)


def classification_sections(
    results: ClassificationResults, examples: Sequence[Example], metrics_csv: Sequence[Path]
) -> list[Section]:
    """Return the sections of a report, for `vertebra.tasks.reporting.report.write_report`.

    Args:
        results: what `ClassificationMetric.compute` returns.
        examples: images of `rows_to_show` for the galleries; empty for no galleries.
        metrics_csv: what Lightning's CSVLogger wrote while training, oldest first; empty for no curves.

    Raises:
        FileNotFoundError: a file of `metrics_csv` does not exist.
    """
    training = training_section(metrics_csv)
    return [*class_sections(results), *([training] if training else []), *_galleries(results, examples)]


def _galleries(results: ClassificationResults, examples: Sequence[Example]) -> list[Section]:
    sections = []
    for title, is_correct, text in (
        ("Worst images", False, "Errors, the most confident first: look here for wrong labels."),
        ("Best images", True, "Correct predictions, the most confident first."),
    ):
        pictures = [_picture(results, one) for one in examples if results.correct[one.row] == is_correct]
        if pictures:
            sections.append(Section(title, gallery(pictures) + note(text)))
    return sections


def _picture(results: ClassificationResults, example: Example) -> Picture:
    seen, names, row = results.images, results.class_names, example.row
    predicted = f"{names[seen.top_labels[row, 0]]} {seen.top_scores[row, 0]:.3f}"
    remark = f"{predicted}, correct" if results.correct[row] else f"predicted {predicted}, is {names[seen.labels[row]]}"
    return Picture(example.pixels, os.path.basename(str(seen.names[row])), remark)
