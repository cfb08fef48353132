"""Default boxes: the anchors of SSD."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.anchors import Anchors


class DefaultBoxes(Anchors):
    """Anchors of a level's own shapes, centered on its pixels.

    SSD, Liu et al. 2016, https://arxiv.org/abs/1512.02325, section 2.2. Sizes are in pixels, whatever the size of the
    images; in the paper and in torchvision they are parts of an image that was resized to a square.

    Args:
        sizes: (width, height) of the boxes of each level, in pixels.
        steps: distance in pixels between the boxes of each level; None spreads them evenly over the image, for maps
            of convolutions without padding.

    Shape:
        as `Anchors`
    """

    def __init__(self, sizes: Sequence[Sequence[tuple[float, float]]], steps: Sequence[int | None]) -> None:
        halves = (torch.tensor(level, dtype=torch.float32) / 2 for level in sizes)
        super().__init__([torch.cat((-half, half), dim=1) for half in halves])
        self.steps = tuple(steps)

    def _centers(self, level: int, grid: tuple[int, int], image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        step = self.steps[level]
        y, x = (
            (torch.arange(cells, dtype=torch.float32) + 0.5) * (step or size / cells)
            for size, cells in zip(image_size, grid, strict=True)
        )
        return y, x
