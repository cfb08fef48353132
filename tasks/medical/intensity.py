"""From the values of a scan to those that a network learns from well: about -1..1, or zero mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

Preset = Literal["abdomen", "bone", "brain", "liver", "lung", "mediastinum", "soft tissue"]

# center and width in Hounsfield units: https://radiopaedia.org/articles/windowing-ct
_PRESETS = {
    "abdomen": (50.0, 400.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "liver": (30.0, 150.0),
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "soft tissue": (50.0, 400.0),
}


class Intensity(ABC):
    """Scales the values of one scan."""

    @abstractmethod
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return scaled values of (C, H, W) or (C, D, H, W) float32, in the same shape and type."""


@dataclass
class Range(Intensity):
    """Bring low..high to -1..1, and what lies outside to -1 or 1: for values of known range, such as MedMNIST's.

    Args:
        low: what becomes -1.
        high: what becomes 1.
    """

    low: float = 0.0
    high: float = 255.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}; low is below high.")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return _scaled(pixels, self.low, self.high)


@dataclass
class Window(Intensity):
    """Bring a window of Hounsfield units to -1..1, as one looks at CT: dense organs differ by a few units of 4000.

    Args:
        preset: a window that radiologists use.
        center: of a window of one's own, with `width`, in place of the preset.
        width: from what becomes -1 to what becomes 1.
    """

    preset: Preset = "soft tissue"
    center: float | None = None
    width: float | None = None

    def __post_init__(self) -> None:
        if self.preset not in _PRESETS:
            raise ValueError(f"preset is {self.preset!r}; choose of {', '.join(_PRESETS)}, or give center and width.")
        if (self.center is None) != (self.width is None) or (self.width is not None and self.width <= 0):
            raise ValueError(
                f"center is {self.center} and width {self.width}; give both, the width above 0, or neither for "
                f"the preset {self.preset!r}."
            )

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        center, width = _PRESETS[self.preset]
        if self.center is not None and self.width is not None:
            center, width = self.center, self.width
        return _scaled(pixels, center - width / 2, center + width / 2)


@dataclass
class Percentiles(Intensity):
    """Bring the range of nearly all values of a scan to -1..1: for X-rays, whose values have no unit.

    Args:
        low: percentile that becomes -1, in 0..100.
        high: percentile that becomes 1.
    """

    low: float = 0.5
    high: float = 99.5

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(f"low is {self.low} and high {self.high}; they are percentiles, 0 <= low < high <= 100.")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        low, high = np.percentile(pixels, (self.low, self.high))
        return _scaled(pixels, float(low), float(high))


@dataclass
class Standardize(Intensity):
    """Bring a scan to zero mean and unit variance: for MR, whose values differ from scanner to scanner.

    Args:
        nonzero: count only values other than 0, and leave zeros as they are: where the background has been cut out.
    """

    nonzero: bool = False

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        counted = pixels[pixels != 0] if self.nonzero else pixels
        if not counted.size:
            return pixels
        mean, std = counted.mean(dtype=np.float64), counted.std(dtype=np.float64)
        scaled = ((pixels - mean) / (std or 1.0)).astype(np.float32)  # of a constant scan, 0
        return np.where(pixels != 0, scaled, pixels) if self.nonzero else scaled


def _scaled(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Bring low..high to -1..1, and where both are the same, all to -1 or 1."""
    scale = 2 / max(high - low, 1e-6)
    return np.clip((pixels - np.float32(low)) * np.float32(scale) - 1, -1, 1).astype(np.float32, copy=False)
