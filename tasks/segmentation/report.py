"""Report sections of segmentation: per-class scores, confusion matrix, worst images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from vertebra.tasks.loading.files.images import read_for_display
from vertebra.tasks.reporting.captions import labeled_tiles
from vertebra.tasks.reporting.charts import color_legend, confusion_chart
from vertebra.tasks.reporting.confidence_report import confidence_section
from vertebra.tasks.reporting.report import Part, Picture, Section, gallery, note
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.segmentation.drawing import errors, legend, overlay
from vertebra.tasks.segmentation.metrics import SegmentationResults

NUM_WORST = 8  # images in the gallery
_SIDE = 360  # pixels, of each of the four tiles of an image; keeps the page to a few MB


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


def segmentation_sections(results: SegmentationResults) -> list[Section]:
    """Return the report sections of an evaluation."""
    confusion = confusion_chart(results.confusion, results.class_names, results.class_names)
    text = "Rows: true class, columns: predicted class, in pixels. Color: fraction of the row."
    curves = results.confidence_curves()
    counted = "A prediction is the most probable class of a pixel."
    confidence = confidence_section(curves, results.class_names, counted) if curves else None
    return [
        Section("Classes", *_classes(results)),
        *([confidence] if confidence else []),
        Section("Confusion", confusion, note(text)),
    ]


def class_table(results: SegmentationResults) -> Table:
    """Return the scores of each class."""
    values = (
        results.class_names,
        results.confusion.sum(axis=1) / max(1, results.confusion.sum()),
        results.per_class_iou,
        results.per_class_dice,
        results.per_class_accuracy,
        results.boundaries.f1,
    )
    header = ["class", "fraction of pixels", "IoU", "Dice", "accuracy (recall)", "boundary F1"]
    return Table("Classes", header, list(zip(*values, strict=True)))


def _classes(results: SegmentationResults) -> list[Part]:
    text = "Ignored pixels are excluded. A dash marks an undefined score, which means leave out."
    caveat = results.caveat()
    warning = [note(caveat[0].upper() + caveat[1:])] if caveat else []
    return [*warning, class_table(results), note(text)]


def segmentation_galleries(results: SegmentationResults, worst: Sequence[Example]) -> list[Section]:
    """Return the gallery of the worst images.

    Args:
        results: of the evaluation.
        worst: the images, worst first; none for no gallery.
    """
    if not worst:
        return []
    names = results.class_names
    text = (
        "Images with the lowest mean IoU over the classes present in them. Error map: gray for correct, red for wrong, "
        "black for ignored pixels. A class named background is not tinted."
    )
    pictures = gallery([_picture(example, names) for example in worst])
    return [Section("Worst images", pictures, color_legend(*legend(names)), note(text))]


def _picture(example: Example, class_names: Sequence[str]) -> Picture:
    name, caption = os.path.basename(example.file), f"mean IoU {example.miou:.3f}"
    try:
        image = read_for_display(example.file)
    except (OSError, ValueError):  # an image deleted since the evaluation must not fail the whole report
        return Picture(None, name, caption)
    height, width = example.mask.shape
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    # nearest neighbor: an average of labels is another class
    mask, labels = (cv2.resize(x, size, interpolation=cv2.INTER_NEAREST_EXACT) for x in (example.mask, example.labels))
    tiles = {
        "image": image,
        "truth": overlay(image, mask, class_names),
        "prediction": overlay(image, labels, class_names),
        "errors": errors(mask, labels),
    }
    return Picture(labeled_tiles(tiles, columns=2), name, caption)
