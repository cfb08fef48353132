"""SimOTA: assignment by the cost of predictions, for all images of a batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.assigners import Assigner, Assignment, Predictions, without_ignored
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.boxes import iou
from vertebra.tasks.detection.parts.candidates import Candidates

LEAST_LOG = -100.0  # as PyTorch's binary cross-entropy bounds the logarithm
FAR = 1e6  # cost of a point that is only near another object: such points are last
EPS = 1e-8


@dataclass
class SimOTA(Assigner):
    """Gives each object the points near its center whose predictions cost least, as many as overlap it well.

    YOLOX, Ge et al. 2021, https://arxiv.org/abs/2107.08430, section 2.1: OTA, Ge et al. 2021,
    https://arxiv.org/abs/2103.14259, without its optimal transport. The cost is the cross-entropy of the classes and 3
    times the logarithm of the overlap; the number of points is the sum of the best overlaps. A point that several
    objects want is of the object for which it costs least.

    Args:
        radius: how far, in strides along each axis, a point may be from the center of an object.
        num_overlaps: how many of the best overlaps are summed, and at most how many points an object gets.
        iou_weight: of the overlap in the cost.
    """

    radius: float = 1.5
    num_overlaps: int = 10
    iou_weight: float = 3.0

    @torch.no_grad()
    def __call__(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        if predictions is None:
            raise ValueError("there are no predictions, but SimOTA assigns by their cost; take it in YOLOX.")
        is_near = self._near_center(candidates.boxes, targets)  # (N, G, P)
        is_candidate = is_near.any(dim=1, keepdim=True)  # of any object of the image
        overlaps = iou(targets.boxes, predictions.boxes).mul_(is_candidate)
        costs = self._class_costs(predictions.scores, targets.labels)
        costs -= self.iou_weight * (overlaps + EPS).log()
        costs += FAR * ~is_near
        costs.masked_fill_(~(is_candidate & (targets.labels > 0).unsqueeze(-1)), torch.inf)

        most = min(self.num_overlaps, costs.shape[2])
        wanted = overlaps.topk(most, dim=2).values.sum(dim=2).int().clamp(min=1)  # (N, G)
        best = costs.topk(most, dim=2, largest=False)
        is_taken = (torch.arange(most, device=costs.device) < wanted.unsqueeze(-1)) & best.values.isfinite()
        takes = torch.zeros_like(costs, dtype=torch.uint8).scatter_(2, best.indices, is_taken.to(torch.uint8))
        num_takers = takes.sum(dim=1)  # (N, P)
        objects = torch.where(num_takers > 1, costs.argmin(dim=1), takes.argmax(dim=1))
        labels = targets.labels.gather(1, objects).masked_fill(num_takers == 0, 0)
        return Assignment(objects, without_ignored(labels, candidates, targets))

    def _near_center(self, cells: Tensor, targets: Targets) -> Tensor:
        """Return which points are near the center of which object, (N, G, P)."""
        x, y = (cells[:, 0] + cells[:, 2]) / 2, (cells[:, 1] + cells[:, 3]) / 2
        reach = self.radius * (cells[:, 2] - cells[:, 0])
        x1, y1, x2, y2 = targets.boxes.unsqueeze(-2).unbind(-1)  # each (N, G, 1)
        from_center = torch.maximum((x - (x1 + x2) / 2).abs(), (y - (y1 + y2) / 2).abs())
        return (from_center < reach) & (targets.labels > 0).unsqueeze(-1)

    def _class_costs(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy (N, G, P) of scores (N, P, K) with each object's class, summed over the classes."""
        yes, no = (-x.log().clamp(min=LEAST_LOG) for x in (scores, 1 - scores))
        classes = (labels - 1).clamp(min=0)[..., None].expand(-1, -1, scores.shape[1])
        # what a table of objects, points and classes would hold differs from all no in one class only
        return no.sum(dim=-1).unsqueeze(1) + (yes - no).transpose(1, 2).gather(1, classes)
