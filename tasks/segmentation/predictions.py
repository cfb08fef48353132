"""Prediction writer of segmentation: label masks and overlays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image

from vertebra.tasks.loading.files.output_names import OutputNames
from vertebra.tasks.segmentation.drawing import overlay, palette
from vertebra.tasks.training.prediction_writer import PredictionWriter


class Prediction(NamedTuple):
    """Predicted mask of an image.

    Attributes:
        image_index: index of the image in the prediction set.
        file: path of the image.
        labels: (H, W) uint8 in 0..K-1, at the size of the image file.
    """

    image_index: int
    file: str
    labels: np.ndarray


class MaskWriter(PredictionWriter[None]):
    """Writer of predicted masks as `masks/NAME.png` (indexed color, value = class) and overlays `pictures/NAME.jpg`.

    NAME is the image's own, followed by its number where several images share it.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = class_names
        self._names = OutputNames(())

    def begin(self, folder: Path, dataset: Any, rank: int = 0, num_processes: int = 1) -> None:
        super().begin(folder, dataset, rank, num_processes)
        self._names = OutputNames(dataset.records.images)

    def keep(self, outputs: list[Prediction], folder: Path, dataset: Any) -> tuple[()]:
        # written at once: the masks of a whole data set would not fit into memory
        for prediction in outputs:
            self._write(folder, prediction, dataset.images.read_for_display(prediction.file))
        return ()

    def finish(self, predictions: Sequence[None], folder: Path) -> None:
        names = ", ".join(f"{label} {name}" for label, name in enumerate(self.class_names))
        rank_zero_info(f"masks: {folder / 'masks'}, overlays: {folder / 'pictures'}; mask values: {names}")

    def _write(self, folder: Path, prediction: Prediction, pixels: np.ndarray) -> None:
        name = self._names.stem(prediction.file, prediction.image_index)
        mask = Image.fromarray(prediction.labels)
        mask.putpalette(palette(len(self.class_names)).tobytes())
        picture = Image.fromarray(overlay(pixels, prediction.labels, self.class_names))
        for kind, image, suffix in (("masks", mask, "png"), ("pictures", picture, "jpg")):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            image.save(folder / kind / f"{name}.{suffix}")
