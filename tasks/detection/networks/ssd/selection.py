"""Selection of detections where every box has a score for each class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.boxes import take
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.selection import DetectionSelection, select_detections


@dataclass
class PerClassSelection(DetectionSelection):
    """Which detections of an SSD are reported.

    Args:
        score_threshold: least score, 0..1.
        nms_threshold: overlap above which the better of two boxes of a class stays.
        per_image: how many of the best are kept.
        soft_nms: decay of the scores of overlapping boxes, in place of their removal; None to remove them.
        per_class: how many of the best of each class enter the suppression.
    """

    score_threshold: float = 0.01
    nms_threshold: float = 0.45
    per_image: int = 200
    per_class: int = 400


@torch.no_grad()
def select_per_class(boxes: Tensor, scores: Tensor, selection: PerClassSelection) -> DetectionRows:
    """Turn boxes with a score for each class into detections.

    Args:
        boxes: (N, B, 4) xyxy, clipped to their images.
        scores: (N, B, K) in 0..1.
        selection: the thresholds.
    """
    num_classes = scores.shape[-1]
    best = scores.transpose(1, 2).topk(torch.sym_min(selection.per_class, scores.shape[1]), dim=2)  # (N, K, R)
    chosen = take(boxes, best.indices.flatten(1)).unflatten(1, best.indices.shape[1:])
    classes = torch.arange(num_classes, device=scores.device)[:, None]
    return select_detections(chosen, best.values, classes, num_classes, selection)
