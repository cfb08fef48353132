"""Box coding: the regression targets of a box relative to an anchor or a proposal, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

# exp() of a wild early prediction must not overflow: a box grows to at most 1000/16 of its anchor.
MAX_LOG_SCALE = math.log(1000.0 / 16)


class Coder(Protocol):
    """Boxes as regression targets, relative to reference boxes of the same shape, and back."""

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor: ...

    def decode(self, deltas: Tensor, references: Tensor) -> Tensor: ...


class BoxCoder:
    """Shifts of the center in sizes of the reference box, and log scales of width and height, each times its weight.

    R-CNN, Girshick et al. 2013, https://arxiv.org/abs/1311.2524, appendix C; the weights, which bring the targets to
    about unit variance, as in Fast R-CNN, Girshick 2015, https://arxiv.org/abs/1504.08083.

    Args:
        weights: of dx, dy, dw, dh.
    """

    def __init__(self, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> None:
        self.weights = tuple(weights)

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """Express boxes relative to reference boxes.

        Args:
            boxes: (..., 4) xyxy; those without area give non-finite numbers, which the caller masks.
            references: (..., 4) xyxy anchors or proposals.

        Returns:
            (..., 4) deltas.
        """
        x, y, width, height = _centers(references)
        box_x, box_y, box_width, box_height = _centers(boxes)
        wx, wy, ww, wh = self.weights
        return torch.stack(
            (
                wx * (box_x - x) / width,
                wy * (box_y - y) / height,
                ww * torch.log(box_width / width),
                wh * torch.log(box_height / height),
            ),
            dim=-1,
        )

    def decode(self, deltas: Tensor, references: Tensor) -> Tensor:
        """Return the boxes (..., 4) that `encode` would turn into `deltas` (..., 4); shapes broadcast."""
        x, y, width, height = _centers(references)
        dx, dy, dw, dh = (delta / weight for delta, weight in zip(deltas.unbind(-1), self.weights, strict=True))
        box_x, box_y = dx * width + x, dy * height + y
        half_width = 0.5 * torch.exp(dw.clamp(max=MAX_LOG_SCALE)) * width
        half_height = 0.5 * torch.exp(dh.clamp(max=MAX_LOG_SCALE)) * height
        return torch.stack((box_x - half_width, box_y - half_height, box_x + half_width, box_y + half_height), dim=-1)


class CellCoder(BoxCoder):
    """Shifts of the center from the upper left corner of the reference, in its sizes, and log scales of the sides.

    YOLOX, Ge et al. 2021, https://arxiv.org/abs/2107.08430; the reference is a cell of the grid: one pixel of a level.
    """

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        dx, dy, dw, dh = super().encode(boxes, references).unbind(-1)
        return torch.stack((dx + 0.5, dy + 0.5, dw, dh), dim=-1)

    def decode(self, deltas: Tensor, references: Tensor) -> Tensor:
        dx, dy, dw, dh = deltas.unbind(-1)
        return super().decode(torch.stack((dx - 0.5, dy - 0.5, dw, dh), dim=-1), references)


class DistanceCoder:
    """Distances from the center of the reference box to the four sides, in its width and height.

    FCOS: Fully Convolutional One-Stage Object Detection, Tian et al. 2019, https://arxiv.org/abs/1904.01355. The
    reference is the square of one stride around a point, so that the distances of all levels are of one scale.
    """

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """Return the distances (..., 4) to left, top, right and bottom; below 0 where the center is outside."""
        x, y, width, height = _centers(references)
        x1, y1, x2, y2 = boxes.unbind(-1)
        return torch.stack(((x - x1) / width, (y - y1) / height, (x2 - x) / width, (y2 - y) / height), dim=-1)

    def decode(self, deltas: Tensor, references: Tensor) -> Tensor:
        """Return the boxes (..., 4) that `encode` would turn into `deltas` (..., 4); shapes broadcast."""
        x, y, width, height = _centers(references)
        left, top, right, bottom = deltas.unbind(-1)
        return torch.stack((x - left * width, y - top * height, x + right * width, y + bottom * height), dim=-1)


def _centers(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    width, height = x2 - x1, y2 - y1
    return x1 + 0.5 * width, y1 + 0.5 * height, width, height
