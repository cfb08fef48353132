"""Intensity scaling of scans: ranges, CT windows, percentiles, standardization."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

Preset = Literal["abdomen", "bone", "brain", "liver", "lung", "mediastinum", "soft tissue"]

# window center (level) and width in Hounsfield units: https://radiopaedia.org/articles/windowing-ct
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
    """Base class of intensity scalings, applied to one scan at a time."""

    @abstractmethod
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return scaled values of (C, H, W) or (C, D, H, W) float32, in the same shape and type."""


@dataclass
class Range(Intensity):
    """Linear scaling of a fixed range to -1..1, clipped: for images of a known range, such as MedMNIST.

    Args:
        low: value that maps to -1.
        high: value that maps to 1.
    """

    low: float = 0.0
    high: float = 255.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}; expected low below high. Swap or change them.")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return _scaled(pixels, self.low, self.high)


@dataclass
class Window(Intensity):
    """CT window: a range of Hounsfield units scaled to -1..1, clipped.

    Soft tissues differ by tens of Hounsfield units in a range of 4000; without a window this contrast is lost.

    Args:
        preset: a standard radiological window.
        center: center of a custom window, given with `width` instead of the preset.
        width: width of the custom window.
    """

    preset: Preset = "soft tissue"
    center: float | None = None
    width: float | None = None

    def __post_init__(self) -> None:
        if self.preset not in _PRESETS:
            raise ValueError(
                f"preset is {self.preset!r}; choose one of {', '.join(_PRESETS)}, or give center and width."
            )
        if (self.center is None) != (self.width is None) or (self.width is not None and self.width <= 0):
            raise ValueError(
                f"center is {self.center} and width {self.width}; give both, with a positive width, or neither for "
                f"the preset {self.preset!r}."
            )

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        center, width = _PRESETS[self.preset]
        if self.center is not None and self.width is not None:
            center, width = self.center, self.width
        return _scaled(pixels, center - width / 2, center + width / 2)


@dataclass
class Percentiles(Intensity):
    """Percentile range of a scan scaled to -1..1, clipped: for X-rays, whose values have no physical unit.

    Percentiles instead of minimum and maximum, which single pixels of markers or metal would set.

    Args:
        low: percentile that maps to -1, in 0..100.
        high: percentile that maps to 1.
    """

    low: float = 0.5
    high: float = 99.5

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(f"low is {self.low} and high {self.high}; give percentiles, 0 <= low < high <= 100.")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        low, high = np.percentile(pixels, (self.low, self.high))
        return _scaled(pixels, float(low), float(high))


@dataclass
class Standardize(Intensity):
    """Standardization of a scan to zero mean and unit variance: for MR, whose intensity scale is scanner-dependent.

    Args:
        nonzero: use only nonzero values and leave zeros unchanged, for skull-stripped or otherwise masked scans.
    """

    nonzero: bool = False

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        selected = pixels[pixels != 0] if self.nonzero else pixels
        if not selected.size:  # all zero
            return pixels
        # accumulated in float64: float32 sums over a large volume lose digits
        mean, std = selected.mean(dtype=np.float64), selected.std(dtype=np.float64)
        scaled = ((pixels - mean) / (std or 1.0)).astype(np.float32)  # 0 for a constant scan
        return np.where(pixels != 0, scaled, pixels) if self.nonzero else scaled


def _scaled(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale low..high to -1..1, clipped; with low equal to high, all values become -1 or 1."""
    # 1e-6: a constant scan has equal percentiles
    scale = 2 / max(high - low, 1e-6)
    # float32 scalars: numpy 2 promotes the whole volume for a float64 scalar
    return np.clip((pixels - np.float32(low)) * np.float32(scale) - 1, -1, 1).astype(np.float32, copy=False)
