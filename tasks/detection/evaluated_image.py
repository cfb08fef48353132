"""What is known about one image once a detector has seen it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class EvaluatedImage(NamedTuple):
    """Truth and detections of one image; boxes are xyxy in the image file's own pixels, labels in 1..K.

    Attributes:
        image_id: unique in the data set.
        file: path of the image.
        size: height and width of the image file as a viewer shows it.
        boxes: (G, 4) float64, the truth.
        labels: (G,) int64.
        crowd: (G,) bool.
        areas: (G,) float64, by which COCO tells small, medium and large objects.
        detected_boxes: (D, 4) float64, best score first.
        detected_labels: (D,) int64.
        scores: (D,) float64 in 0..1.
    """

    image_id: int
    file: str
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    detected_boxes: np.ndarray
    detected_labels: np.ndarray
    scores: np.ndarray
