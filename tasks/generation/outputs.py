"""Generated image for programs and notebooks."""

from __future__ import annotations

from typing import Any

import numpy as np

from vertebra.tasks.reporting.captions import captioned, enlarged
from vertebra.tasks.reporting.sample_output import SampleOutput


class GeneratedImage(SampleOutput):
    """An image of a class.

    Args:
        name: of the sample whose class it has.
        class_name: that class.
        pixels: (H, W, 3) uint8 RGB.

    Attributes:
        class_name: as given.
        pixels: as given.
    """

    def __init__(self, name: str, class_name: str, pixels: np.ndarray) -> None:
        self.name, self.class_name, self.pixels = name, class_name, pixels

    def summary(self) -> str:
        return f"generated {self.class_name}"

    def rows(self) -> list[dict[str, Any]]:
        return [{"name": self.name, "class": self.class_name}]

    def picture(self) -> np.ndarray:
        return captioned(enlarged(self.pixels), [self.class_name])
