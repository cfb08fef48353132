"""What `predict` leaves behind: COCO results and a picture of every image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from tasks.detection.drawing import draw_boxes
from tasks.detection.evaluated_image import EvaluatedImage
from tasks.images import read_image
from tasks.processes import gathered

DRAWN_SCORE = 0.5  # the file holds every detection, the pictures those that are more likely than not


class PredictionWriter(Callback):
    """Writes `detections.json` (COCO results) and `pictures/` below the trainer's `default_root_dir`.

    Args:
        class_names: the K classes.
        category_ids: K ids of the data set that the detector was trained on, which the file speaks in.
    """

    def __init__(self, class_names: Sequence[str], category_ids: Sequence[int]) -> None:
        self.class_names = class_names
        self.category_ids = category_ids
        self.rows: list[dict[str, Any]] = []
        self.names: set[str] = set()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rows, self.names = [], set()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        folder = Path(trainer.default_root_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        for image in outputs:
            self.rows += self._rows(image)
            keep = image.scores >= DRAWN_SCORE
            picture = draw_boxes(
                read_image(image.file),
                image.detected_boxes[keep],
                image.detected_labels[keep],
                self.class_names,
                image.scores[keep],
            )
            cv2.imwrite(str(folder / self._name(image)), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = gathered(self.rows)
        if not trainer.is_global_zero:
            return
        file = Path(trainer.default_root_dir) / "detections.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(rows), encoding="utf-8")
        rank_zero_info(f"{len(rows)} detections: {file}, pictures: {file.parent / 'pictures'}")

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
