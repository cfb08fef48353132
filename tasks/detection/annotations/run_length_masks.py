"""Masks as COCO's compressed run lengths: small at rest, and what COCO's metric and results are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from vertebra.tasks.detection.annotations.byte_rows import ByteRows
from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.annotations.table import Table
from vertebra.tasks.detection.parts.crops import Crop
from vertebra.tasks.loading.files.run_lengths import decompressed


@dataclass(frozen=True, eq=False)
class RunLengthMasks(Table):
    """N binary masks in pixels of the image file.

    Attributes:
        sizes: (N, 2) int64, height and width of the image of each mask.
        counts: the compressed run lengths of each.
    """

    sizes: np.ndarray
    counts: ByteRows

    @classmethod
    def of(cls, rles: Sequence[dict[str, Any]]) -> RunLengthMasks:
        """Return the masks that pycocotools encoded: `size`, and `counts` as bytes, of each."""
        sizes = np.array([rle["size"] for rle in rles], dtype=np.int64).reshape(-1, 2)
        return cls(sizes, ByteRows.of([rle["counts"] for rle in rles]))

    @classmethod
    def encode(cls, crops: Iterable[Crop], height: int, width: int) -> RunLengthMasks:
        """Encode crops of an image of this size, without a dense mask of it."""
        plain = [{"size": [height, width], "counts": _runs_of(crop, height, width).tolist()} for crop in crops]
        return cls.of(coco_mask.frPyObjects(plain, height, width) if plain else [])

    def rles(self) -> list[dict[str, Any]]:
        """Return the masks as pycocotools takes them."""
        return [
            {"size": size, "counts": counts.tobytes()}
            for size, counts in zip(self.sizes.tolist(), self.counts, strict=True)
        ]

    def areas(self) -> np.ndarray:
        """Return the number of pixels of each mask, (N,) float64."""
        return areas_of(self.rles())

    def boxes(self) -> np.ndarray:
        """Return the box around each mask, (N, 4) float64 xyxy; without area where a mask has no pixel."""
        return boxes_of(self.rles())

    def crops(self) -> Iterator[Crop]:
        """Yield the masks one after the other, cropped to their boxes."""
        boxes = self.boxes().astype(np.int64).tolist()
        for (height, _), counts, (x1, y1, x2, y2) in zip(self.sizes.tolist(), self.counts, boxes, strict=True):
            window = (x1, y1, x2 - x1, y2 - y1)
            yield window, _crop_of(decompressed(counts), height, window)

    def packed(self) -> PackedMasks:
        """Return the masks cropped to their boxes."""
        return PackedMasks.of(self.crops())


def areas_of(rles: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return the number of pixels of masks as pycocotools has them, (N,) float64."""
    # 255 at once: pycocotools' `area` keeps the length of its list in a byte, and fails on a longer one
    parts = [coco_mask.area(rles[start : start + 255]) for start in range(0, len(rles), 255)]
    return np.concatenate([np.zeros(0), *parts])


def boxes_of(rles: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return the boxes around masks as pycocotools has them, (N, 4) float64 xyxy."""
    boxes = np.asarray(coco_mask.toBbox(rles), dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _crop_of(runs: np.ndarray, height: int, window: tuple[int, int, int, int]) -> np.ndarray:
    """Draw the tight window of a mask of this height, as (H, W) bool; runs alternate, column by column."""
    x, y, crop_width, crop_height = window
    ends = np.cumsum(runs)
    first, last = ends[:-1:2], ends[1::2] - 1  # the pixels of the object that begin and end a run
    # a run over the end of a column is possible only where the window is as high as the image
    edges = np.empty(2 * len(last) + 2, dtype=np.int64)
    edges[0], edges[-1] = 0, crop_width * crop_height
    edges[1:-1:2] = (first // height - x) * crop_height + first % height - y
    edges[2:-1:2] = (last // height - x) * crop_height + last % height - y + 1
    inside = np.arange(len(edges) - 1) % 2 == 1
    return np.repeat(inside, np.diff(edges)).reshape(crop_width, crop_height).T


def _runs_of(crop: Crop, height: int, width: int) -> np.ndarray:
    """Return the lengths of alternating runs of background and object, column by column."""
    (x, y, crop_width, crop_height), pixels = crop
    padded = np.zeros((crop_width, crop_height + 2), dtype=np.bool_)
    padded[:, 1:-1] = pixels.T
    flat = padded.ravel()
    columns, rows = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), crop_height + 2)
    edges = (x + columns) * height + y + rows
    # an object that leaves a column at the bottom and goes on at the top of the next is one run
    goes_on = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
    edges = np.delete(edges, np.concatenate([goes_on, goes_on + 1]))
    runs = np.diff(np.concatenate([[0], edges, [height * width]]))
    return runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs
