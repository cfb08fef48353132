"""Report sections of segmentation: per-class scores, confusion matrix, training curves, worst images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vertebra.tasks.loading.files.images import read_for_display
from vertebra.tasks.reporting.charts import color_legend, confusion_chart
from vertebra.tasks.reporting.report import Picture, Section, gallery, note, table, training_section
from vertebra.tasks.segmentation.drawing import errors, overlay, palette
from vertebra.tasks.segmentation.metrics import SegmentationResults

NUM_WORST = 8  # images in the gallery
_MAX_SIDE = 360  # pixels, of each of the four tiles of an image; keeps the page to a few MB
_GAP = 4  # white pixels between tiles


class Example(NamedTuple):
    """Image of the gallery.

    Attributes:
        file: path of the image.
        miou: mean IoU of this image.
        mask: (H, W) uint8, the ground truth, 0..K-1 or `IGNORE_INDEX`.
        labels: (H, W) uint8, the prediction, 0..K-1.
    """

    file: str
    miou: float
    mask: np.ndarray
    labels: np.ndarray


def segmentation_sections(
    results: SegmentationResults, worst: Sequence[Example], metrics_csv: Sequence[Path]
) -> list[Section]:
    """Return the report sections of an evaluation.

    Args:
        results: results of `SegmentationMetric.compute`.
        worst: images of the gallery, worst first.
        metrics_csv: training logs in the format of Lightning's CSVLogger, oldest first; empty for no curves.
    """
    training = training_section(metrics_csv)
    confusion = confusion_chart(results.confusion, results.class_names, results.class_names)
    text = "Rows: true class, columns: predicted class, in pixels. Color: fraction of the row."
    return [
        Section("Per-class scores", _classes(results)),
        Section("Confusion matrix", confusion + note(text)),
        *([training] if training else []),
        *([_gallery(results, worst)] if worst else []),
    ]


def _classes(results: SegmentationResults) -> str:
    fractions = results.confusion.sum(axis=1) / max(1, results.confusion.sum())
    values = (
        results.class_names,
        fractions,
        results.per_class_iou,
        results.per_class_dice,
        results.per_class_accuracy,
        results.boundaries.f1,
    )
    header = ["class", "fraction of pixels", "IoU", "Dice", "accuracy (recall)", "boundary F1"]
    text = "Ignored pixels are excluded. A dash marks an undefined score, which means leave out."
    caveat = results.caveat()
    warning = note(caveat[0].upper() + caveat[1:]) if caveat else ""
    return warning + table(header, list(zip(*values, strict=True))) + note(text)


def _gallery(results: SegmentationResults, worst: Sequence[Example]) -> Section:
    num_classes = len(results.class_names)
    text = (
        "Images with the lowest mean IoU over the classes present in them. Tiles: image, ground truth, prediction, and "
        "error map (gray: correct, red: wrong, black: ignored)."
    )
    colors = [tuple(color) for color in palette(num_classes)[:num_classes].tolist()]
    pictures = [_picture(example, num_classes) for example in worst]
    return Section("Worst images", gallery(pictures) + color_legend(results.class_names, colors) + note(text))


def _picture(example: Example, num_classes: int) -> Picture:
    name, caption = os.path.basename(example.file), f"mean IoU {example.miou:.3f}"
    try:
        image = read_for_display(example.file)
    except (OSError, ValueError):  # an image deleted since the evaluation must not fail the whole report
        return Picture(None, name, caption)
    height, width = example.mask.shape
    scale = min(1.0, _MAX_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # nearest neighbor: an average of labels is another class
    mask, labels = (cv2.resize(x, size, interpolation=cv2.INTER_NEAREST_EXACT) for x in (example.mask, example.labels))
    tiles = [
        [image, overlay(image, mask, num_classes)],
        [overlay(image, labels, num_classes), errors(mask, labels)],
    ]
    column_gap = np.full((size[1], _GAP, 3), 255, np.uint8)
    rows = [np.concatenate([left, column_gap, right], axis=1) for left, right in tiles]
    row_gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return Picture(np.concatenate([rows[0], row_gap, rows[1]], axis=0), name, caption)
