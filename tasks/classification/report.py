"""Galleries of a classifier's report: errors and correct predictions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from vertebra.tasks.reporting.report import Picture, Section, gallery, note
from vertebra.tasks.scoring.class_metrics import ClassificationResults

_MAX_ERRORS, _MAX_CORRECT = 12, 6  # images per gallery; errors are what a reader looks for
_MAX_SIDE, _MIN_SIDE = 480, 320  # pixels, longer side of a gallery image


class Example(NamedTuple):
    """Image of a gallery.

    Attributes:
        row: index of the image in the results.
        pixels: (H, W, 3) uint8 RGB at gallery size, or None if it can no longer be read.
    """

    row: int
    pixels: np.ndarray | None


def gallery_rows(results: ClassificationResults) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of errors and of correct predictions for the galleries, most confident first."""
    by_score = np.argsort(-results.images.top_scores[:, 0], kind="stable")
    correct = results.correct[by_score]
    return by_score[~correct][:_MAX_ERRORS], by_score[correct][:_MAX_CORRECT]


def resize_for_gallery(pixels: np.ndarray) -> np.ndarray:
    """Resize an image (H, W, 3) uint8 to gallery size, which keeps the page small."""
    longer = max(pixels.shape[:2])
    scale = min(1.0, _MAX_SIDE / longer)
    if longer < _MIN_SIDE:  # such as CIFAR's 32 pixels: an integer factor, so that all pixels keep one size
        scale = float(-(-_MIN_SIDE // longer))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale <= 1 else cv2.INTER_NEAREST)


def classification_galleries(results: ClassificationResults, examples: Sequence[Example]) -> list[Section]:
    """Return the galleries of a report.

    Args:
        results: results of `ClassificationMetric.compute`.
        examples: images of the rows of `gallery_rows`; empty for no galleries.
    """
    sections = []
    for title, is_correct, text in (
        ("Worst images", False, "Most confident errors first; these are often label errors."),
        ("Best images", True, "Most confident correct predictions first."),
    ):
        pictures = [_picture(results, example) for example in examples if results.correct[example.row] == is_correct]
        if pictures:
            sections.append(Section(title, gallery(pictures), note(text)))
    return sections


def _picture(results: ClassificationResults, example: Example) -> Picture:
    images, names, row = results.images, results.class_names, example.row
    predicted = f"{names[images.top_labels[row, 0]]} {images.top_scores[row, 0]:.3f}"
    is_correct, true = results.correct[row], names[images.labels[row]]
    caption = f"{predicted}, correct" if is_correct else f"predicted: {predicted}, true: {true}"
    return Picture(example.pixels, os.path.basename(str(images.names[row])), caption)
