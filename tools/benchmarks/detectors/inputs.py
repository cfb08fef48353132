"""Random images with objects, as each library takes them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NUM_OBJECTS = 15  # per image
NUM_CLASSES = 90  # of COCO as torchvision numbers them, without the background


class Inputs(NamedTuple):
    """A batch.

    Attributes:
        images: (N, 3, H, W) float32, as if normalized.
        boxes: (N, G, 4) xyxy in pixels.
        labels: (G,) int64 from 0, the same in every image.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[2], self.images.shape[3]

    def targets(self, masks: bool = False) -> list[dict[str, Tensor]]:
        """Return `boxes` and `labels` from 1 of each image, and `masks` (G, H, W): ellipses in the boxes."""
        targets = [{"boxes": box, "labels": self.labels + 1} for box in self.boxes]
        return [x | {"masks": self._ellipses(x["boxes"])} for x in targets] if masks else targets

    def centers(self) -> Tensor:
        """Return the boxes as centers and sizes, (N, G, 4)."""
        low, high = self.boxes[..., :2], self.boxes[..., 2:]
        return torch.cat(((low + high) / 2, high - low), dim=-1)

    def _ellipses(self, boxes: Tensor) -> Tensor:
        height, width = self.size
        y = torch.arange(height, device=boxes.device).view(1, -1, 1) + 0.5
        x = torch.arange(width, device=boxes.device).view(1, 1, -1) + 0.5
        x1, y1, x2, y2 = boxes.T[:, :, None, None]
        distance = ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2
        return (distance <= 1).to(torch.uint8)


def layout(fast: bool) -> torch.memory_format:
    """Return the memory format of images and weights."""
    return torch.channels_last if fast else torch.contiguous_format


def draw(batch: int, size: tuple[int, int], fast: bool) -> Inputs:
    """Return the same random batch at every call, in the memory format of the mode."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    height, width = size
    images = torch.randn(batch, 3, height, width, device=device)
    corners = torch.rand(batch, NUM_OBJECTS, 2, device=device) * torch.tensor([width, height], device=device) * 0.7
    sides = torch.rand(batch, NUM_OBJECTS, 2, device=device) * torch.tensor([width, height], device=device) * 0.25 + 4
    labels = torch.arange(NUM_OBJECTS, device=device)
    return Inputs(images.contiguous(memory_format=layout(fast)), torch.cat((corners, corners + sides), dim=2), labels)
