"""Boxes of a whole batch at once: overlaps, coding and clipping. All boxes are xyxy in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# exp() of a wild early prediction must not overflow: a box grows to at most 1000/16 of its anchor.
MAX_LOG_SCALE = math.log(1000.0 / 16)


def area(boxes: Tensor) -> Tensor:
    """Return the areas (...) of boxes (..., 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Return the pairwise intersections (..., A, B) of boxes (..., A, 4) and (..., B, 4); leading sizes broadcast."""
    a, b = a.unsqueeze(-2), b.unsqueeze(-3)
    width = torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])
    height = torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])
    return width.clamp_(min=0).mul_(height.clamp_(min=0))


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the pairwise intersection over union (..., A, B), 0..1, of boxes (..., A, 4) and (..., B, 4)."""
    shared = intersection(a, b)
    union = (area(a).unsqueeze(-1) + area(b).unsqueeze(-2)).sub_(shared)
    return shared.div_(union)


def coverage(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return which part of each box each region covers, (..., A, B) in 0..1: intersection over the box's own area."""
    return intersection(boxes, regions).div_(area(boxes).unsqueeze(-1))


def encode(boxes: Tensor, references: Tensor, weights: Sequence[float]) -> Tensor:
    """Express `boxes` relative to `references`: shifts in reference sizes, log scales, each times its weight.

    Args:
        boxes: (..., 4); those without area give non-finite numbers, which the caller masks.
        references: (..., 4) anchors or proposals.
        weights: of dx, dy, dw, dh.

    Returns:
        (..., 4) deltas.
    """
    x, y, width, height = _centers(references)
    box_x, box_y, box_width, box_height = _centers(boxes)
    wx, wy, ww, wh = weights
    return torch.stack(
        (
            wx * (box_x - x) / width,
            wy * (box_y - y) / height,
            ww * torch.log(box_width / width),
            wh * torch.log(box_height / height),
        ),
        dim=-1,
    )


def decode(deltas: Tensor, references: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the boxes (..., 4) that `encode` would turn into `deltas` (..., 4)."""
    x, y, width, height = _centers(references)
    dx, dy, dw, dh = (delta / weight for delta, weight in zip(deltas.unbind(-1), weights, strict=True))
    box_x, box_y = dx * width + x, dy * height + y
    half_width = 0.5 * torch.exp(dw.clamp(max=MAX_LOG_SCALE)) * width
    half_height = 0.5 * torch.exp(dh.clamp(max=MAX_LOG_SCALE)) * height
    return torch.stack((box_x - half_width, box_y - half_height, box_x + half_width, box_y + half_height), dim=-1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip boxes (N, ..., 4) to their images' `sizes` (N, 2), height and width."""
    limits = sizes.to(boxes.dtype).flip(1).repeat(1, 2)  # a list as an index would be copied, and waited for
    return torch.minimum(boxes.clamp(min=0), limits.view(-1, *(1,) * (boxes.dim() - 2), 4))


def has_size(boxes: Tensor, minimum: float) -> Tensor:
    """Return which boxes (..., 4) are at least `minimum` pixels wide and high, (...) bool."""
    return (boxes[..., 2] - boxes[..., 0] >= minimum) & (boxes[..., 3] - boxes[..., 1] >= minimum)


def _centers(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    width, height = x2 - x1, y2 - y1
    return x1 + 0.5 * width, y1 + 0.5 * height, width, height
