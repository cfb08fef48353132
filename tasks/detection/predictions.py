"""What `predict` leaves behind: COCO results and a picture of every image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from tasks.detection.drawing import draw_boxes
from tasks.detection.evaluated_image import EvaluatedImage
from tasks.images import read_image
from tasks.prediction_writer import PredictionWriter

DRAWN_SCORE = 0.5  # the file holds every detection, the pictures those that are more likely than not


class DetectionWriter(PredictionWriter[dict[str, Any]]):
    """Writes `detections.json` (COCO results) and `pictures/`.

    Args:
        class_names: the K classes.
        category_ids: K ids of the data set that the detector was trained on, which the file speaks in.
    """

    def __init__(self, class_names: Sequence[str], category_ids: Sequence[int]) -> None:
        super().__init__()
        self.class_names = class_names
        self.category_ids = category_ids
        self.names: set[str] = set()

    def keep(self, outputs: list[EvaluatedImage], folder: Path, trainer: Trainer) -> list[dict[str, Any]]:
        pictures = folder / "pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        for image in outputs:
            drawn = image.scores >= DRAWN_SCORE
            picture = draw_boxes(
                read_image(image.file),
                image.detected_boxes[drawn],
                image.detected_labels[drawn],
                self.class_names,
                image.scores[drawn],
            )
            cv2.imwrite(str(pictures / self._name(image)), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        return [row for image in outputs for row in self._rows(image)]

    def finish(self, predictions: Sequence[dict[str, Any]], folder: Path, module: Any) -> None:
        file = folder / "detections.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(predictions), encoding="utf-8")
        rank_zero_info(f"{len(predictions)} detections: {file}, pictures: {folder / 'pictures'}")

    def _rows(self, image: EvaluatedImage) -> list[dict[str, Any]]:
        found = zip(image.detected_boxes.tolist(), image.detected_labels.tolist(), image.scores.tolist(), strict=True)
        return [
            {
                "image_id": image.image_id,
                "file_name": image.file,
                "category_id": self.category_ids[label - 1],
                "bbox": [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)],
                "score": round(score, 5),
            }
            for (x1, y1, x2, y2), label, score in found
        ]

    def _name(self, image: EvaluatedImage) -> str:
        """Return the picture's name: the image's own, and its number where two folders have one of that name."""
        stem = Path(image.file).stem
        name = f"{stem}.jpg" if f"{stem}.jpg" not in self.names else f"{stem}-{image.image_id}.jpg"
        self.names.add(name)
        return name
