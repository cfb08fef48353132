"""Non-maximum suppression for many groups of boxes in one call."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Suppress boxes that overlap a better one of the same group by more than `threshold`.

    Args:
        boxes: (B, 4) xyxy; boxes without area suppress nothing.
        scores: (B,).
        groups: (B,) int64, from 0 on.
        threshold: intersection over union in 0..1.

    Returns:
        Indices of the kept boxes, best score first.
    """
    if not len(boxes):
        return groups
    # groups are moved apart until they cannot touch; in double precision, since a shift costs digits
    shift = groups.double() * (boxes.detach().max().double() + 1)
    return nms(boxes.double() + shift[:, None], scores.double(), threshold)


def batched_nms_mask(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Return which boxes (N, B, 4) with scores (N, B) survive the suppression within their image, (N, B) bool."""
    num_images, num_boxes = scores.shape
    groups = torch.arange(num_images, device=boxes.device).repeat_interleave(num_boxes)
    kept = grouped_nms(boxes.reshape(-1, 4), scores.reshape(-1), groups, threshold)
    mask = torch.zeros(num_images * num_boxes, dtype=torch.bool, device=boxes.device)
    return mask.index_fill_(0, kept, True).view(num_images, num_boxes)
