"""Boxes as RT-DETR predicts them: centers and sizes as parts of the padded image, behind a sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.boxes import area

LEAST = 1e-5  # of a coordinate and of its distance from 1, so that its logit is finite
LEAST_AREA = 1e-12  # divided by in place of 0


def to_corners(boxes_cxcywh: Tensor) -> Tensor:
    """Return boxes (..., 4) of centers and sizes as xyxy, in the same unit."""
    center, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat((center - 0.5 * size, center + 0.5 * size), dim=-1)


def to_centers(boxes: Tensor) -> Tensor:
    """Return xyxy boxes (..., 4) as centers and sizes, in the same unit."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def relative(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Return xyxy boxes (..., 4) in pixels as parts, 0..1, of an image of `image_size` (H, W)."""
    height, width = image_size
    # divided by numbers of the host, of which no copy has to reach the device
    return torch.stack(
        (boxes[..., 0] / width, boxes[..., 1] / height, boxes[..., 2] / width, boxes[..., 3] / height), -1
    )


def absolute(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Return xyxy boxes (..., 4) that are parts of an image of `image_size` (H, W) in its pixels."""
    height, width = image_size
    return torch.stack(
        (boxes[..., 0] * width, boxes[..., 1] * height, boxes[..., 2] * width, boxes[..., 3] * height), -1
    )


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Return the logits of numbers in 0..1, finite at both ends."""
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=LEAST) / (1 - x).clamp(min=LEAST))


def iou_and_giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection over union (0..1) and generalized IoU (-1..1) of xyxy boxes (..., 4), whose shapes broadcast.

    Generalized Intersection over Union, Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630.
    """
    inner = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    outer = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    inner = inner.clamp(min=0)
    # written out: the gradient of prod() reads back from the device whether there are zeros
    shared, hull = inner[..., 0] * inner[..., 1], outer[..., 0] * outer[..., 1]
    union = area(a) + area(b) - shared
    overlap = shared / union.clamp(min=LEAST_AREA)
    return overlap, overlap - (hull - union) / hull.clamp(min=LEAST_AREA)
