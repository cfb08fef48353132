"""Boxes of a whole batch at once: overlaps, clipping and selecting. All boxes are xyxy in pixels."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_AREA = 1e-16  # square pixels; two boxes without area have an overlap of 0


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


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union (...), 0..1, of each box of `a` (..., 4) with its own of `b` (..., 4)."""
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    sides = sides.clamp(min=0)
    # written out: the gradient of prod() reads back from the device whether there are zeros
    shared = sides[..., 0] * sides[..., 1]
    return shared / (area(a) + area(b) - shared + LEAST_AREA)


def coverage(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return which part of each box each region covers, (..., A, B) in 0..1: intersection over the box's own area."""
    return intersection(boxes, regions).div_(area(boxes).unsqueeze(-1))


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip boxes (N, ..., 4) to their images' `sizes` (N, 2), height and width."""
    limits = sizes.to(boxes.dtype).flip(1).repeat(1, 2)  # a list as an index would be copied, and waited for
    return torch.minimum(boxes.clamp(min=0), limits.view(-1, *(1,) * (boxes.dim() - 2), 4))


def has_size(boxes: Tensor, minimum: float) -> Tensor:
    """Return which boxes (..., 4) are at least `minimum` pixels wide and high, (...) bool."""
    return (boxes[..., 2] - boxes[..., 0] >= minimum) & (boxes[..., 3] - boxes[..., 1] >= minimum)


def take(boxes: Tensor, indices: Tensor) -> Tensor:
    """Return the rows (N, S, 4) of boxes (N, B, 4) that `indices` (N, S) name in each image."""
    return boxes.gather(1, indices[..., None].expand(-1, -1, 4))
