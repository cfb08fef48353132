"""Non-maximum suppression as an operator of fixed shapes, for exported networks."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms


@torch.library.custom_op("vertebra::nms_mask", mutates_args=())
def nms_mask(boxes: Tensor, scores: Tensor, threshold: float, least: float) -> Tensor:
    """Return which boxes survive the suppression within their group and class.

    As an operator it is one node of an exported graph, whose output has the shape of its input; the number of boxes
    that survive is known only when the graph runs.

    Args:
        boxes: (G, B, 4) float32 xyxy; boxes without area suppress nothing.
        scores: (G, C, B) float32, of each box for each class.
        threshold: intersection over union in 0..1 above which the better of two boxes stays.
        least: only boxes with a higher score take part.

    Returns:
        (G, C, B) bool.
    """
    survive = torch.zeros_like(scores, dtype=torch.bool)
    taking_part = scores > least
    for group, label in taking_part.any(dim=2).nonzero().tolist():
        rows = taking_part[group, label].nonzero()[:, 0]
        survive[group, label, rows[nms(boxes[group, rows], scores[group, label, rows], threshold)]] = True
    return survive


@nms_mask.register_fake
def _(boxes: Tensor, scores: Tensor, threshold: float, least: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)
