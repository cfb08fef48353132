"""Adaptive training sample selection (ATSS)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.assigners import Assigner, Assignment, Predictions, without_ignored
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.boxes import iou
from vertebra.tasks.detection.parts.candidates import Candidates

LEAST_DISTANCE = 0.01  # pixels from a center to the sides of the object that it is in


@dataclass
class ATSS(Assigner):
    """Gives each object the nearest candidates of each level whose overlap is above its own threshold.

    Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive Training Sample Selection, Zhang et al.
    2020, https://arxiv.org/abs/1912.02424. The threshold is the mean of the overlaps of all of these candidates and
    their standard deviation. A candidate whose center is outside the object is background; one of several objects is of
    that which it overlaps most.

    Args:
        num_nearest: candidates of each level, by the distance between centers.
        scale: sides of the boxes that overlaps are computed of over those of the candidates: 1 for anchors, 8 for the
            points of an FCOS, which are squares of one stride.
    """

    num_nearest: int = 9
    scale: float = 1.0

    def __call__(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        boxes, objects = candidates.boxes.unsqueeze(-3), targets.boxes.unsqueeze(-2)  # (1, B, 4), (N, G, 1, 4)
        centers = (boxes[..., :2] + boxes[..., 2:]) / 2
        distances = (centers - (objects[..., :2] + objects[..., 2:]) / 2).square().sum(dim=-1)  # (N, G, B)
        overlaps = iou(targets.boxes, self._scaled(candidates.boxes))

        nearest, start = [], 0
        for of_level in distances.split(candidates.levels, dim=-1):
            count = min(self.num_nearest, of_level.shape[-1])
            nearest.append(of_level.topk(count, dim=-1, largest=False).indices + start)
            start += of_level.shape[-1]
        indices = torch.cat(nearest, dim=-1)  # (N, G, C)
        chosen = overlaps.gather(2, indices)
        threshold = chosen.mean(dim=-1, keepdim=True) + chosen.std(dim=-1, keepdim=True)
        is_nearest = torch.zeros_like(overlaps, dtype=torch.bool).scatter_(2, indices, chosen >= threshold)
        inside = torch.minimum(centers - objects[..., :2], objects[..., 2:] - centers).amin(dim=-1) > LEAST_DISTANCE
        fits = is_nearest & inside & (targets.labels > 0).unsqueeze(-1)
        best, numbers = overlaps.masked_fill(~fits, -1.0).max(dim=1)  # (N, B)
        labels = targets.labels.gather(1, numbers).masked_fill(best < 0, 0)
        return Assignment(numbers, without_ignored(labels, candidates, targets))

    def _scaled(self, boxes: Tensor) -> Tensor:
        """Return boxes (..., 4) with the same centers, `scale` times as large."""
        if self.scale == 1:
            return boxes
        center, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
        return torch.cat((center - self.scale * half, center + self.scale * half), dim=-1)
