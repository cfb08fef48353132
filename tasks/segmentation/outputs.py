"""Predicted mask of one image for programs and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vertebra.tasks.loading.files.image_source import ImageSource
from vertebra.tasks.reporting.captions import captioned, enlarged
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.segmentation.drawing import overlay, palette
from vertebra.tasks.segmentation.predictions import Prediction

_MAX_LINES = 12  # classes in a legend; the rarest are left out


class SegmentationOutput(SampleOutput):
    """Predicted mask of one image.

    Args:
        prediction: of the image.
        class_names: the K classes.
        images: reader of the image.

    Attributes:
        mask: (H, W) uint8 in 0..K-1, in pixels of the image.
        fractions: class name -> fraction of the image, of the classes that occur, largest first.
    """

    def __init__(self, prediction: Prediction, class_names: Sequence[str], images: ImageSource) -> None:
        self.name = prediction.file
        self.mask = torch.from_numpy(prediction.labels)
        counts = np.bincount(prediction.labels.ravel(), minlength=len(class_names))
        self._present = [label for label in np.argsort(-counts, kind="stable").tolist() if counts[label]]
        self.fractions = {class_names[label]: float(counts[label] / counts.sum()) for label in self._present}
        self._class_names, self._images = class_names, images

    def summary(self) -> str:
        return ", ".join(f"{name} {fraction:.1%}" for name, fraction in list(self.fractions.items())[:5])

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"file": self.name, "label": name, "fraction": fraction, "pixels": round(fraction * self.mask.numel())}
            for name, fraction in self.fractions.items()
        ]

    def picture(self) -> np.ndarray:
        blended = overlay(self._images.read_for_display(self.name), self.mask.numpy(), self._class_names)
        lines = [f"{name}  {fraction:.1%}" for name, fraction in self.fractions.items()][:_MAX_LINES]
        colors = palette(len(self._class_names))[self._present].tolist()
        return captioned(enlarged(blended), lines, colors)
