"""Masks of an image at hand, each cropped to a window and packed 8 pixels a byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vertebra.tasks.detection.annotations.byte_rows import ByteRows
from vertebra.tasks.detection.annotations.table import Table
from vertebra.tasks.detection.parts.masks import Crop, MaskBatch

_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.int64)  # bits of each byte


@dataclass(frozen=True, eq=False)
class PackedMasks(Table):
    """N binary masks in pixels of an image.

    Attributes:
        windows: (N, 4) int64 x, y, width, height of each crop.
        bits: of each crop, row by row, as `MaskBatch` has them.
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


def batch_masks(masks: Sequence[PackedMasks], sizes: np.ndarray, count: int) -> MaskBatch:
    """Return the masks of a batch without unpacking them.

    Args:
        masks: of each image.
        sizes: (N, 2) int64, height and width of each image.
        count: that the masks of each image are padded to.
    """
    windows = np.zeros((len(masks), count, 4), dtype=np.int64)
    offsets = np.zeros((len(masks), count), dtype=np.int64)
    start = 0
    for i, of_image in enumerate(masks):
        windows[i, : len(of_image)] = of_image.windows
        offsets[i, : len(of_image)] = of_image.bits.ends[:-1] + start
        start += len(of_image.bits.values)
    bits = np.concatenate([*(of_image.bits.values for of_image in masks), np.zeros(1, dtype=np.uint8)])
    width, height = np.maximum(windows[..., 2:].reshape(-1, 2).max(axis=0), 1).tolist()
    return MaskBatch(
        torch.from_numpy(bits),
        torch.from_numpy(offsets),
        torch.from_numpy(windows),
        # a copy: a loader process moves each tensor of a batch to shared memory, and frees that of another behind it
        torch.from_numpy(sizes.copy()),
        (height, width),
    )
