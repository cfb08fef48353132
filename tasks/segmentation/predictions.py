"""Output of `predict`: a mask and an overlay picture of every image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image

from vertebra.tasks.loading.files.images import read_for_display
from vertebra.tasks.segmentation.drawing import overlay, palette
from vertebra.tasks.training.prediction_writer import PredictionWriter


class Prediction(NamedTuple):
    """Prediction for one image.

    Attributes:
        place: index of the image among those to predict.
        file: its path.
        labels: (H, W) uint8 in 0..K-1, in the image's own pixels.
    """

    place: int
    file: str
    labels: np.ndarray


class MaskWriter(PredictionWriter[None]):
    """Writes `masks/NAME.png` (palette, one number a class) and `pictures/NAME.jpg`.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = class_names

    def keep(self, outputs: list[Prediction], folder: Path, trainer: Trainer) -> tuple[()]:
        for prediction in outputs:
            self._write(folder, prediction)
        return ()

    def finish(self, predictions: Sequence[None], folder: Path) -> None:
        names = ", ".join(f"{label} {name}" for label, name in enumerate(self.class_names))
        rank_zero_info(f"masks and pictures are below {folder}; values: {names}")

    def _write(self, folder: Path, prediction: Prediction) -> None:
        num_classes = len(self.class_names)
        # the place makes it unique where two folders have an image of one name
        name = f"{prediction.place:05d}_{Path(prediction.file).stem}"
        mask = Image.fromarray(prediction.labels)
        mask.putpalette(palette(num_classes).tobytes())
        picture = Image.fromarray(overlay(read_for_display(prediction.file), prediction.labels, num_classes))
        for kind, image, ending in (("masks", mask, "png"), ("pictures", picture, "jpg")):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            image.save(folder / kind / f"{name}.{ending}")
