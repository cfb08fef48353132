"""Detections of one image for programs and notebooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from vertebra.tasks.detection.drawing import draw_detections
from vertebra.tasks.detection.predictions import DRAWN_SCORE, Prediction
from vertebra.tasks.loading.files.image_source import ImageSource
from vertebra.tasks.reporting.sample_output import SampleOutput


class DetectionOutput(SampleOutput):
    """Detections of one image, best score first.

    Args:
        prediction: of the image.
        class_names: the K classes.
        images: reader of the image.

    Attributes:
        boxes: (D, 4) float64 xyxy in pixels of the image.
        scores: (D,) float64 in 0..1.
        labels: (D,) int64 in 1..K.
        names: D class names.
        size: height and width of the image.
    """

    def __init__(self, prediction: Prediction, class_names: Sequence[str], images: ImageSource) -> None:
        image = prediction.image
        self.name, self.size = image.file, image.size
        self.boxes = torch.from_numpy(image.detections.boxes)
        self.scores = torch.from_numpy(image.detections.scores)
        self.labels = torch.from_numpy(image.detections.labels)
        self.names = [class_names[label - 1] for label in image.detections.labels.tolist()]
        self._prediction, self._class_names, self._images = prediction, class_names, images

    def summary(self) -> str:
        shown = int((self.scores >= DRAWN_SCORE).sum())
        counts = Counter(self.names[:shown])
        found = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
        return f"{found} with a score of {DRAWN_SCORE} or more, {len(self.names)} detections in all"

    def rows(self) -> list[dict[str, Any]]:
        columns = zip(self.names, self.scores.tolist(), self.boxes.tolist(), strict=True)
        return [
            {"file": self.name, "label": name, "score": score, **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))}
            for name, score, box in columns
        ]

    def picture(self, threshold: float = DRAWN_SCORE) -> np.ndarray:
        """Draw the detections from a score on; the best few, marked as below it, where none reaches it."""
        pixels = self._images.read_for_display(self.name)
        return draw_detections(pixels, self._prediction.image.detections, self._class_names, threshold)

    def plot(self, threshold: float = DRAWN_SCORE) -> Image.Image:
        """Return the image with its detections.

        Args:
            threshold: minimum score; where no detection reaches it, the best few are drawn, and the picture says so.
        """
        return Image.fromarray(self.picture(threshold))
