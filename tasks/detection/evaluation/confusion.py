"""Which objects a detector takes for which, which it misses, and which it invents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage


class ImageErrors(NamedTuple):
    """What went right and wrong in one image.

    Attributes:
        correct: objects found under their own class.
        misses: objects without a detection.
        false_positives: detections on no object, or on one that a better detection has found.
        wrong_classes: objects found under another class.
    """

    correct: int
    misses: int
    false_positives: int
    wrong_classes: int

    @property
    def f1(self) -> float:
        """Quality in 0..1; an object under a wrong class counts as missed and as invented, an empty image as right."""
        errors = self.misses + self.false_positives + 2 * self.wrong_classes
        return 2 * self.correct / (2 * self.correct + errors) if self.correct or errors else 1.0


def confusion_matrix(
    images: Iterable[EvaluatedImage], num_classes: int, iou_threshold: float = 0.5, score_threshold: float = 0.5
) -> np.ndarray:
    """Count pairs of true and predicted class; index 0 is the background.

    Detections choose in the order of their scores, over all classes, the free object that they overlap best. Those
    that find none and are on a crowd region do not count, as in COCO.

    Args:
        images: the evaluated images.
        num_classes: K.
        iou_threshold: from this IoU on a detection is on an object.
        score_threshold: detections below this score do not count.

    Returns:
        (K + 1, K + 1) int64, rows are the truth and columns the prediction: row 0 counts false positives, column 0
        misses, and [0, 0] is 0.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    for image in images:
        for true_label, predicted_label in _pairs(image, iou_threshold, score_threshold):
            matrix[true_label, predicted_label] += 1
    return matrix


def image_errors(image: EvaluatedImage, iou_threshold: float = 0.5, score_threshold: float = 0.5) -> ImageErrors:
    """Count what went right and wrong in one image, paired as in `confusion_matrix`."""
    pairs = _pairs(image, iou_threshold, score_threshold)
    return ImageErrors(
        correct=sum(true == predicted for true, predicted in pairs),
        misses=sum(predicted == 0 for _, predicted in pairs),
        false_positives=sum(true == 0 for true, _ in pairs),
        wrong_classes=sum(0 != true != predicted != 0 for true, predicted in pairs),
    )


def _pairs(image: EvaluatedImage, iou_threshold: float, score_threshold: float) -> list[tuple[int, int]]:
    """Return (true label, predicted label) of every object and of every detection that counts, 0 for none."""
    objects, crowds = image.truth[~image.truth.crowd], image.truth[image.truth.crowd]
    boxes, labels = objects.boxes, objects.labels
    detections = image.detections[np.argsort(-image.detections.scores, kind="stable")]
    detections = detections[detections.scores >= score_threshold]
    found = detections.boxes

    intersection = _intersections(found, boxes)
    iou = intersection / np.maximum(_areas(found)[:, None] + _areas(boxes) - intersection, 1e-9)  # (D, G)
    crowd = _intersections(found, crowds.boxes) / np.maximum(_areas(found)[:, None], 1e-9)
    on_crowd = (crowd >= iou_threshold).any(axis=1)

    pairs = []
    free = np.ones(len(boxes), dtype=bool)
    for i, label in enumerate(detections.labels.tolist()):
        # The sliver for its own class decides only between objects whose boxes are the same.
        overlap = np.where(free & (iou[i] >= iou_threshold), iou[i] + 1e-9 * (labels == label), 0.0)
        best = int(overlap.argmax()) if overlap.any() else -1
        if best >= 0:
            free[best] = False
            pairs.append((int(labels[best]), label))
        elif not on_crowd[i]:
            pairs.append((0, label))
    return pairs + [(label, 0) for label in labels[free].tolist()]


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the shared areas, (A, B), of boxes (A, 4) and (B, 4)."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.clip(bottom_right - top_left, 0, None).prod(axis=2)
