"""Prediction writer: detections as JSON, in COCO's ids where there are any, and a picture of every image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.detection.drawing import draw_detections
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tasks.loading.files.json_rows import JsonRows
from vertebra.tasks.loading.files.output_names import OutputNames
from vertebra.tasks.loading.files.picture_file import write_picture
from vertebra.tasks.training.prediction_writer import PredictionWriter

DRAWN_SCORE = 0.5  # the file holds every detection, the pictures those that are more likely than not


class Prediction(NamedTuple):
    """One image with its detections.

    Attributes:
        image: as evaluated; its truth is empty.
        category_ids: (D,) int64, class of each detection by its id in the annotation file of the images, or else in the
            training data.
    """

    image: EvaluatedImage
    category_ids: np.ndarray


class DetectionWriter(PredictionWriter[None]):
    """Writes `detections.json` and `pictures/`, both as it goes: detections of a day fit into no memory.

    With the ids of an annotation file the JSON is a file of COCO results; otherwise its rows name the image file, the
    class, and the id of the class in the training data.

    Masks are run lengths in the file, and drawn into pictures that are PNG.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = class_names
        self._names = OutputNames(())
        self._rows: JsonRows | None = None
        self._has_ids = False

    def begin(self, folder: Path, dataset: Any, rank: int = 0, num_processes: int = 1) -> None:
        super().begin(folder, dataset, rank, num_processes)
        self._names = OutputNames(dataset.annotations.files)
        self._has_ids = len(dataset.annotations.category_ids) > 0
        self._rows = JsonRows(folder / "detections.json", rank, num_processes)

    def end(self) -> None:
        if self._rows is not None:
            self._rows.close()

    def discard(self) -> None:
        if self._rows is not None:
            self._rows.discard()

    def keep(self, outputs: list[Prediction], folder: Path, dataset: Any) -> tuple[()]:
        pictures = folder / "pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        for image, _ in outputs:
            pixels = dataset.images.read_for_display(image.file)
            picture = draw_detections(pixels, image.detections, self.class_names, DRAWN_SCORE)
            # a JPEG would blur the borders of masks
            suffix = ".jpg" if image.detections.masks is None else ".png"
            write_picture(pictures / f"{self._names.stem(image.file, image.image_id)}{suffix}", picture)
        if self._rows is not None:
            for prediction in outputs:
                self._rows.add(_coco_rows(prediction) if self._has_ids else _file_rows(prediction, self.class_names))
        return ()

    def finish(self, predictions: Sequence[None], folder: Path) -> None:
        if self._rows is not None:
            count = self._rows.join()
            what = "COCO results" if self._has_ids else "detections"
            rank_zero_info(f"{count} {what}: {self._rows.file}, pictures: {folder / 'pictures'}")


def write_coco_results(file: Path, images: Iterable[EvaluatedImage], category_ids: np.ndarray) -> None:
    """Write the detections of evaluated images as COCO results, https://cocodataset.org/#format-results.

    Args:
        file: the JSON list; its folder is created if needed.
        images: with the ids of their annotation file.
        category_ids: (K,) int64, that file's id of each class.
    """
    rows = JsonRows(file)
    for image in images:
        rows.add(_coco_rows(Prediction(image, category_ids[image.detections.labels - 1])))
    rows.close()
    rows.join()


def _coco_rows(prediction: Prediction) -> list[dict[str, Any]]:
    """Return the rows of COCO's results format."""
    return [
        {
            "image_id": prediction.image.image_id,
            "category_id": category_id,
            # no fewer digits: rounded scores are ties, and rounded boxes change their overlap
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
            **mask,
        }
        for (x1, y1, x2, y2), category_id, score, mask in zip(*_columns(prediction), strict=True)
    ]


def _file_rows(prediction: Prediction, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows by file: without an annotation file an image has no id that COCO's tools may look for."""
    names = [class_names[label - 1] for label in prediction.image.detections.labels.tolist()]
    return [
        {
            "file_name": prediction.image.file,
            "category": name,
            "category_id": category_id,
            "bbox": [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)],
            "score": round(score, 5),
            **mask,
        }
        for (x1, y1, x2, y2), category_id, score, mask, name in zip(*_columns(prediction), names, strict=True)
    ]


def _columns(prediction: Prediction) -> tuple[list[Any], list[int], list[float], list[dict[str, Any]]]:
    """Return boxes, category ids, scores, and what a row has of a mask: nothing where the network predicts none."""
    detections = prediction.image.detections
    masks: list[dict[str, Any]] = [{}] * len(detections)
    if detections.masks is not None:
        masks = [{"segmentation": {**rle, "counts": rle["counts"].decode()}} for rle in detections.masks.rles()]
    return detections.boxes.tolist(), prediction.category_ids.tolist(), detections.scores.tolist(), masks
