"""Prediction for one sample as a program or notebook uses it: tensors, table rows and a picture."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from PIL import Image


class SampleOutput(ABC):
    """Prediction for one image, video or study.

    Attributes:
        name: path of the file, or `input_1`, `input_2`, ... of samples in memory.
    """

    name: str

    @abstractmethod
    def summary(self) -> str:
        """Return the prediction in a few words, such as `2 disc, 1 ring`."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of a table of predictions: numbers and strings by column."""

    @abstractmethod
    def picture(self) -> np.ndarray:
        """Draw the prediction, (H, W, 3) uint8 RGB."""

    def plot(self) -> Image.Image:
        """Return a picture of the prediction; notebooks show it, `.show()` opens a window, `.save(FILE)` writes it."""
        return Image.fromarray(self.picture())

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.plot().save(stream, "png")
        return stream.getvalue()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}: {self.summary()})"
