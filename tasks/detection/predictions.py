"""Prediction writer: COCO results and a picture of every image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.detection.drawing import draw_detections
from vertebra.tasks.detection.evaluated_image import EvaluatedImage
from vertebra.tasks.loading.files.json_rows import JsonRows
from vertebra.tasks.loading.files.picture_file import write_picture
from vertebra.tasks.training.prediction_writer import PredictionWriter

DRAWN_SCORE = 0.5  # the file holds every detection, the pictures those that are more likely than not


class Prediction(NamedTuple):
    """One image with its detections.

    Attributes:
        image: as evaluated; its truth is empty.
        category_ids: (D,) int64, class of each detection by the id that the training data has for it.
    """

    image: EvaluatedImage
    category_ids: np.ndarray


class DetectionWriter(PredictionWriter[None]):
    """Writes `detections.json` (COCO results) and `pictures/`, both as it goes: detections of a day fit into no memory.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = class_names
        self._stems: Counter[str] = Counter()
        self._rows: JsonRows | None = None

    def begin(self, folder: Path, dataset: Any, rank: int = 0, num_processes: int = 1) -> None:
        super().begin(folder, dataset, rank, num_processes)
        self._stems = Counter(Path(str(file)).stem for file in dataset.annotations.files)
        self._rows = JsonRows(folder / "detections.json", rank, num_processes)

    def end(self) -> None:
        if self._rows is not None:
            self._rows.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._rows is not None:
            self._rows.discard()

    def keep(self, outputs: list[Prediction], folder: Path, dataset: Any) -> tuple[()]:
        pictures = folder / "pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        for image, _ in outputs:
            pixels = dataset.images.read_for_display(image.file)
            picture = draw_detections(pixels, image.detections, self.class_names, DRAWN_SCORE)
            write_picture(pictures / self._name(image), picture)
        if self._rows is not None:
            self._rows.add(row for prediction in outputs for row in _results(prediction))
        return ()

    def finish(self, predictions: Sequence[None], folder: Path) -> None:
        if self._rows is not None:
            count = self._rows.join()
            rank_zero_info(f"{count} detections: {self._rows.file}, pictures: {folder / 'pictures'}")

    def _name(self, image: EvaluatedImage) -> str:
        """Return the picture's name: the image's own, and its number where two images have one of that name."""
        stem = Path(image.file).stem
        return f"{stem}.jpg" if self._stems[stem] < 2 else f"{stem}-{image.image_id}.jpg"


def _results(prediction: Prediction) -> list[dict[str, Any]]:
    """Return the rows of COCO's results format, https://cocodataset.org/#format-results."""
    image, detections = prediction.image, prediction.image.detections
    rows = zip(detections.boxes.tolist(), prediction.category_ids.tolist(), detections.scores.tolist(), strict=True)
    return [
        {
            "image_id": image.image_id,
            "file_name": image.file,
            "category_id": category_id,
            "bbox": [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)],
            "score": round(score, 5),
        }
        for (x1, y1, x2, y2), category_id, score in rows
    ]
