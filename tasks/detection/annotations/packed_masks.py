"""Masks of an image at hand, each cropped to a window and packed 8 pixels a byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vertebra.tasks.detection.annotations.byte_rows import ByteRows
from vertebra.tasks.detection.annotations.table import Table
from vertebra.tasks.detection.parts.crops import Crop

_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.int64)  # bits of each byte


@dataclass(frozen=True, eq=False)
class PackedMasks(Table):
    """N binary masks in pixels of an image.

    Attributes:
        windows: (N, 4) int64 x, y, width, height of each crop.
        bits: of each crop, row by row; each row starts on a byte, first pixel in the highest bit.
    """

    windows: np.ndarray
    bits: ByteRows

    @classmethod
    def of(cls, crops: Iterable[Crop]) -> PackedMasks:
        """Pack crops; one after the other, so that a generator needs no memory for all of them."""
        windows, bits = [], []
        for window, pixels in crops:
            windows.append(window)
            bits.append(np.packbits(pixels, axis=1).ravel())
        return cls(np.array(windows, dtype=np.int64).reshape(-1, 4), ByteRows.of(bits))

    def crops(self) -> Iterator[Crop]:
        """Yield the masks one after the other."""
        for (x, y, width, height), bits in zip(self.windows.tolist(), self.bits, strict=True):
            rows = bits.reshape(height, -(-width // 8))
            yield (x, y, width, height), np.unpackbits(rows, axis=1, count=width).view(np.bool_)

    def areas(self) -> np.ndarray:
        """Return the number of pixels of each mask, (N,) int64."""
        before = np.concatenate([[0], np.cumsum(_ONES[self.bits.values])])
        return before[self.bits.ends[1:]] - before[self.bits.ends[:-1]]

    def boxes(self) -> np.ndarray:
        """Return the windows as boxes (N, 4) float32 xyxy."""
        corners = self.windows[:, :2]
        return np.concatenate([corners, corners + self.windows[:, 2:]], axis=1).astype(np.float32)
