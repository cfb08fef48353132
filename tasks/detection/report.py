"""The sections of a detector's report."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np

from vertebra.tasks.detection.annotations.instances import Detections, Instances
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.drawing import draw_boxes
from vertebra.tasks.detection.evaluation.confusion import ImageErrors, confusion_matrix, image_errors
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tasks.detection.evaluation.metrics import DetectionResults
from vertebra.tasks.detection.mask_drawing import draw_mask_errors, draw_masks
from vertebra.tasks.loading.files.images import read_for_display
from vertebra.tasks.reporting.captions import labeled_tiles
from vertebra.tasks.reporting.charts import Line, confusion_chart, line_chart
from vertebra.tasks.reporting.confidence_report import confidence_section
from vertebra.tasks.reporting.report import Part, Picture, Section, columns, gallery, note
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.scoring.confidence import confidence_curves

_SCORE = 0.5  # detections below it are neither counted as errors nor drawn
_MOST_CURVES = 10
_MOST_CONFUSIONS = 10
_NUM_WORST, _NUM_BEST = 6, 3
_LONGER_SIDE = 640  # pixels of a picture in the gallery


def detection_sections(results: DetectionResults) -> list[Section]:
    """Return the sections of a report on what was measured, for `vertebra.tasks.reporting.report.write_report`."""
    found = results.outcomes_at_50
    curves = confidence_curves(found.labels - 1, found.scores, found.correct, results.num_truth)
    counted = "A box is right if it has the class of an object and an IoU of 0.5 or more with it."
    confidence = confidence_section(curves, results.class_names, counted)
    return [
        Section("Classes", *_classes(results)),
        *([confidence] if confidence else []),
        Section("Object sizes", *_sizes(results)),
        Section("Confusion", *_confusion(results)),
    ]


def class_table(results: DetectionResults) -> Table:
    """Return the average precision of each class."""
    values = [results.class_names, results.num_truth, results.per_class_ap, results.per_class_ap50]
    header = ["class", "objects", "AP", "AP50"]
    if results.masks is not None:
        values += [results.masks.per_class_ap, results.masks.per_class_ap50]
        header += ["mask AP", "mask AP50"]
    return Table("Classes", header, list(zip(*values, strict=True)))


def _classes(results: DetectionResults) -> list[Part]:
    text = (
        "AP is the mean precision over all recalls and over the IoU thresholds 0.50 to 0.95, AP50 that at 0.5. A dash "
        "means that there was no object of the class. Each curve trades missed objects for false ones as the score "
        "threshold falls; a perfect one is flat at 1."
    )
    chart, text_of_chart = _curves(results)
    return [columns(class_table(results), *chart), note(text + text_of_chart)]


def _sizes(results: DetectionResults) -> list[Part]:
    parts = [image.truth.areas[~image.truth.crowd] for image in results.images]
    areas = np.concatenate([np.zeros(0), *parts])
    small, medium, large = areas < 32**2, (areas >= 32**2) & (areas < 96**2), areas >= 96**2
    rows: list[list[str | float]] = [
        ["small", "up to 32 × 32 pixels", int(small.sum()), results.ap_small],
        ["medium", "up to 96 × 96 pixels", int(medium.sum()), results.ap_medium],
        ["large", "above", int(large.sum()), results.ap_large],
    ]
    header = ["objects", "area", "number", "AP"]
    if results.masks is not None:
        header.append("mask AP")
        for row, value in zip(
            rows, (results.masks.ap_small, results.masks.ap_medium, results.masks.ap_large), strict=True
        ):
            row.append(value)
    text = "Sizes are areas in the image file's own pixels, before any resizing."
    return [Table("Object sizes", header, rows), note(text)]


def _curves(results: DetectionResults) -> tuple[list[str], str]:
    """Return the chart, if there is one to draw, and its notes."""
    recall = np.linspace(0, 1, len(results.precision_at_50))
    known = np.flatnonzero(results.num_truth > 0)
    if not len(known):
        return [], ""
    shown, lines, text = known, [], ""
    if len(known) > _MOST_CURVES:
        ranked = known[np.argsort(-results.per_class_ap50[known], kind="stable")]
        half = _MOST_CURVES // 2
        shown = np.concatenate([ranked[:half], ranked[-half:]])
        text = f" Drawn are the mean over {len(known)} classes, and the {half} best and the {half} worst of them."
        lines = [Line("mean", recall, results.precision_at_50[:, known].mean(axis=1), look=None)]
    for i, k in enumerate(shown.tolist()):
        # The class has its color of the pictures, as long as there are few enough classes for that.
        look = i if len(known) > _MOST_CURVES or max(shown) >= _MOST_CURVES else k
        name = f"{results.class_names[k]} ({results.per_class_ap50[k]:.3f})"
        lines.append(Line(name, recall, results.precision_at_50[:, k], look))
    limits = (-0.01, 1.01)
    chart = line_chart(lines, "Precision at IoU 0.5", "recall", "precision", x_limits=limits, y_limits=(0, 1.03))
    return [chart], text


def _confusion(results: DetectionResults) -> list[Part]:
    names = list(results.class_names)
    matrix = confusion_matrix(results.images, len(names), score_threshold=_SCORE)
    matrix = np.roll(matrix, -1, axis=(0, 1))  # the background behind the classes
    rows, found_as = [*names, "(nothing there)"], [*names, "(missed)"]
    text = (
        f"Rows are the truth, columns what was found with a score of {_SCORE} or more at IoU 0.5; the color is "
        "the fraction of the row. The last column holds missed objects. The last row, below the line, holds false "
        "positives, as a fraction of all detections of their class."
    )
    wrong = np.where(np.eye(len(rows), dtype=bool), 0, matrix)
    largest = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = [(rows[i // len(rows)], found_as[i % len(rows)], int(wrong.flat[i])) for i in largest if wrong.flat[i]]
    frequent = Table("Most frequent errors", ["truth", "found as", "times"], pairs)
    chart = confusion_chart(matrix, rows, found_as, background_row=True)
    return [columns(chart, *([frequent] if pairs else [])), note(text)]


def detection_galleries(results: DetectionResults) -> list[Section]:
    """Return the galleries of the worst and of the best images."""
    errors = {image.image_id: image_errors(image, score_threshold=_SCORE) for image in results.images}

    def quality(image: EvaluatedImage) -> tuple[float, int]:
        # Among images that are all wrong the fullest comes first, and among those that are all right it comes last.
        seen = errors[image.image_id]
        return seen.f1, seen.correct - seen.misses - seen.false_positives - seen.wrong_classes

    ranked = sorted(results.images, key=quality)
    worst = [image for image in ranked if errors[image.image_id].f1 < 1][:_NUM_WORST]
    taken = {image.image_id for image in worst}
    rest = [image for image in reversed(ranked) if image.image_id not in taken]
    best = [image for image in rest if errors[image.image_id].correct][:_NUM_BEST]
    text = (
        f"Truth in dashed lines; detections with a score of {_SCORE} or more in solid lines. Images are ranked by "
        "their F1."
    )
    if results.masks is not None:
        text += (
            " Errors at the borders of the masks: true outlines in white, pixels of an object that its mask "
            "misses in blue, pixels that a mask adds in orange."
        )
    sections = []
    for title, images in (("Worst images", worst), ("Best images", best)):
        if images:
            pictures = [_picture(image, errors[image.image_id], results.class_names) for image in images]
            sections.append(Section(title, gallery(pictures), note(text)))
    return sections


def _picture(image: EvaluatedImage, errors: ImageErrors, class_names: Sequence[str]) -> Picture:
    remark = f"{errors.correct} right, {errors.misses} missed, {errors.false_positives} false"
    if errors.wrong_classes:
        remark += f", {errors.wrong_classes} of a wrong class"
    try:
        pixels = read_for_display(image.file)
    except (OSError, ValueError):  # a report on a hundred images must not fail on one that has gone
        return Picture(None, os.path.basename(image.file), remark)
    height, width = pixels.shape[:2]
    # also enlarged: lines and tags of a small image would cover its objects
    scale = _LONGER_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    kept = image.detections[image.detections.scores >= _SCORE]
    panels = _panels(image.truth, kept, pixels, scale, class_names)
    # stacked along the shorter side, they stay as large as they can
    columns = 1 if width >= height else len(panels)
    return Picture(labeled_tiles(panels, columns), os.path.basename(image.file), remark)


def _panels(
    truth: Instances, found: Detections, pixels: np.ndarray, scale: float, class_names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return pictures of the truth, of what was found and, where there are masks, of the errors of these."""
    below = above = pixels
    errors = {}
    if isinstance(truth.masks, RunLengthMasks) and found.masks is not None:
        below, above = draw_masks(pixels, truth.masks, truth.labels), draw_masks(pixels, found.masks, found.labels)
        errors = {"mask errors": draw_mask_errors(pixels, truth, found)}
    return {
        "truth": draw_boxes(below, truth.boxes * scale, truth.labels, class_names, dashed=True),
        f"found, score >= {_SCORE}": draw_boxes(above, found.boxes * scale, found.labels, class_names, found.scores),
        **errors,
    }
