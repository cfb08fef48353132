"""The sections of a segmenter's report."""

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
_LONGER_SIDE = 360  # pixels of each of the four pictures of an image
_GAP = 4  # white pixels between them


class Example(NamedTuple):
    """An image that is shown.

    Attributes:
        file: its path.
        miou: the mean IoU of this image by itself.
        mask: (H, W) uint8, the truth, 0..K-1 or `IGNORE_INDEX`.
        labels: (H, W) uint8, the prediction, 0..K-1.
    """

    file: str
    miou: float
    mask: np.ndarray
    labels: np.ndarray


def segmentation_sections(
    results: SegmentationResults, worst: Sequence[Example], metrics_csv: Sequence[Path]
) -> list[Section]:
    """Return the sections of a report.

    Args:
        results: what `SegmentationMetric.compute` returns.
        worst: images for the gallery.
        metrics_csv: what Lightning's CSVLogger wrote while training, oldest first; empty for no curves.
    """
    training = training_section(metrics_csv)
    confusion = confusion_chart(results.confusion, results.class_names, results.class_names)
    text = "Rows are the truth, columns the prediction, in pixels; the color is the share of the row."
    return [
        Section("Classes", _classes(results)),
        Section("Confusion", confusion + note(text)),
        *([training] if training else []),
        *([_gallery(results, worst)] if worst else []),
    ]


def _classes(results: SegmentationResults) -> str:
    shares = results.confusion.sum(axis=1) / max(1, results.confusion.sum())
    values = (
        results.class_names,
        shares,
        results.per_class_iou,
        results.per_class_dice,
        results.per_class_accuracy,
        results.boundaries.f1,
    )
    header = ["class", "share of pixels", "IoU", "Dice", "accuracy", "boundary F1"]
    text = "Ignored pixels are not counted. A dash means that there was nothing to score; means leave such classes out."
    caveat = results.caveat()
    warning = note(caveat[0].upper() + caveat[1:]) if caveat else ""
    return warning + table(header, list(zip(*values, strict=True))) + note(text)


def _gallery(results: SegmentationResults, worst: Sequence[Example]) -> Section:
    number = len(results.class_names)
    text = (
        "The images with the lowest mean IoU over their own classes. Of each: the image and the truth, the prediction "
        "and the errors (red is wrong, gray is right, black is ignored)."
    )
    colors = [tuple(color) for color in palette(number)[:number].tolist()]
    pictures = [_picture(image, number) for image in worst]
    return Section("Worst images", gallery(pictures) + color_legend(results.class_names, colors) + note(text))


def _picture(examined: Example, num_classes: int) -> Picture:
    name, remark = os.path.basename(examined.file), f"mean IoU {examined.miou:.3f}"
    try:
        image = read_for_display(examined.file)
    except (OSError, ValueError):  # deleted since: a report on a hundred images must not fail on one
        return Picture(None, name, remark)
    height, width = examined.mask.shape
    scale = min(1.0, _LONGER_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    mask, labels = (
        cv2.resize(each, size, interpolation=cv2.INTER_NEAREST_EXACT) for each in (examined.mask, examined.labels)
    )
    tiles = [
        [image, overlay(image, mask, num_classes)],
        [overlay(image, labels, num_classes), errors(mask, labels)],
    ]
    beside = np.full((size[1], _GAP, 3), 255, np.uint8)
    rows = [np.concatenate([left, beside, right], axis=1) for left, right in tiles]
    below = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return Picture(np.concatenate([rows[0], below, rows[1]], axis=0), name, remark)
