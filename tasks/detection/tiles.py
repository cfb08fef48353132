"""Sliced inference: overlapping tiles of a large image, read from it as they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.parts.batch import pad_pixels
from vertebra.tasks.detection.transforms import LabeledImage, Resize


@dataclass
class Tiles:
    """Detect on overlapping tiles of each image, in which small objects keep their pixels, and on the whole image.

    Slicing Aided Hyper Inference, Akyon et al. 2022, https://arxiv.org/abs/2202.06934; `merge_tiles` merges
    what several tiles show of an object.

    Args:
        size: height and width of a tile in pixels of the image file; `data.resize` then applies to a tile as to an
            image. Images that are no larger are detected on as a whole.
        overlap: part of a tile that the next one shares at least, from 0 to below 1. Objects up to this size are whole
            in a tile.
        whole: whether to detect on the whole image, too, for objects that are larger than a tile.
        nms_threshold: overlap above which two detections of a class are one object.

    Raises:
        ValueError: a size below 1 pixel, or an overlap or threshold out of range.
    """

    size: tuple[int, int] = (512, 512)
    overlap: float = 0.2
    whole: bool = True
    nms_threshold: float = 0.5

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"tiles.size is {self.size}; give height and width in pixels, such as [512, 512].")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"tiles.overlap is {self.overlap}; it is a part of a tile, from 0 to below 1.")
        if not 0 < self.nms_threshold <= 1:
            raise ValueError(f"tiles.nms_threshold is {self.nms_threshold}; it is above 0 and up to 1.")

    def windows(self, height: int, width: int) -> np.ndarray:
        """Return the tiles of an image, (T, 4) int64 xyxy, row by row and of one size."""
        rows, columns = self._starts(height, self.size[0]), self._starts(width, self.size[1])
        tile_height, tile_width = min(self.size[0], height), min(self.size[1], width)
        corners = [(x, y, x + tile_width, y + tile_height) for y in rows for x in columns]
        return np.array(corners, dtype=np.int64)

    def _starts(self, length: int, tile: int) -> list[int]:
        """Return where tiles begin along one side: evenly, the first at 0, the last at the end."""
        step = max(1, int(tile * (1 - self.overlap)))
        number = max(1, -(-(length - tile) // step) + 1)
        return [round(i * (length - tile) / max(1, number - 1)) for i in range(number)]


class TileBatch(NamedTuple):
    """Some of the tiles of an image.

    Attributes:
        images: (T, C, H, W) uint8, resized, zero where padded; channels innermost in memory.
        sizes: (T, 2) int64, height and width within the padding.
        windows: (T, 4) int64 xyxy in pixels of the image file.
        factors: by how much height and width were scaled.
    """

    images: Tensor
    sizes: Tensor
    windows: np.ndarray
    factors: tuple[float, float]

    def to(self, device: torch.device) -> TileBatch:
        """Return the batch with its tensors on a device."""
        return self._replace(images=self.images.to(device), sizes=self.sizes.to(device))


class TiledImage:
    """An image as batches of its tiles; no more than one batch is in memory beside the image.

    Args:
        pixels: (H, W, C) uint8.
        tiles: where to cut.
        resize: to the size that the network sees.
        batch_size: tiles in a batch.
    """

    def __init__(self, pixels: np.ndarray, tiles: Tiles, resize: Resize, batch_size: int) -> None:
        # a tensor: loader processes pass it on in shared memory
        self.pixels = torch.from_numpy(np.ascontiguousarray(pixels))
        self.tiles, self.resize, self.batch_size = tiles, resize, batch_size
        self.windows = tiles.windows(*pixels.shape[:2])

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.windows)

    def __iter__(self) -> Iterator[TileBatch]:
        pixels, none = self.pixels.numpy(), Instances.empty()
        for start in range(0, len(self), self.batch_size):
            windows = self.windows[start : start + self.batch_size]
            cut = [LabeledImage(pixels[y1:y2, x1:x2], none) for x1, y1, x2, y2 in windows.tolist()]
            resized = [self.resize(tile) for tile in cut]
            images, sizes = pad_pixels([tile.image for tile, _ in resized])
            yield TileBatch(images, sizes, windows, resized[0][1])
