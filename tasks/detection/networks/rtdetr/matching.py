"""Hungarian matching: each object gets the one query that fits it best, no query twice.

DETR, Carion et al. 2020, https://arxiv.org/abs/2005.12872, section 3.1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vertebra.tasks.detection.networks.rtdetr.coordinates import iou_and_giou, to_corners

EPS = 1e-8  # added to probabilities, whose logarithm is taken


@dataclass
class HungarianMatcher:
    """Matches objects to queries at the least cost, all layers of all images at once.

    The assignment is solved by scipy on the host: here, and nowhere else in a training step, the host waits for the
    device, once a step, for all layers together.

    Args:
        class_weight: of the focal cost of the class.
        l1_weight: of the distance of the boxes, as parts of the image.
        giou_weight: of the generalized IoU.
        alpha: weight of the true class in the focal cost; the others have 1 - alpha.
        gamma: exponent of the focal cost.
    """

    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0

    @torch.no_grad()
    def __call__(self, logits: Tensor, boxes: Tensor, true_boxes: Tensor, labels: Tensor) -> Tensor:
        """Match.

        Args:
            logits: (L, N, Q, K).
            boxes: (L, N, Q, 4) cxcywh in 0..1.
            true_boxes: (N, G, 4), likewise.
            labels: (N, G) in 1..K, 0 where padded.

        Returns:
            (L, N, Q) int64, the object of each query, or -1.
        """
        return assign(self.costs(logits, boxes, true_boxes, labels))

    def costs(self, logits: Tensor, boxes: Tensor, true_boxes: Tensor, labels: Tensor) -> Tensor:
        """Return the cost (L, N, Q, G) of each pair; infinite where there is no object, and nowhere else."""
        classes = (labels - 1).clamp(min=0)[None, :, None].expand(*logits.shape[:3], -1)
        probs = logits.gather(-1, classes).sigmoid()  # (L, N, Q, G)
        if_class = self.alpha * (1 - probs).pow(self.gamma) * -(probs + EPS).log()
        if_other = (1 - self.alpha) * probs.pow(self.gamma) * -(1 - probs + EPS).log()
        distance = torch.cdist(boxes, true_boxes.expand(len(boxes), -1, -1, -1), p=1)
        _, giou = iou_and_giou(to_corners(boxes)[..., None, :], to_corners(true_boxes)[:, None])
        cost = self.class_weight * (if_class - if_other) + self.l1_weight * distance - self.giou_weight * giou
        # a query that is not finite is matched last, and leaves the alarm to the loss
        largest = torch.finfo(cost.dtype).max
        cost = cost.nan_to_num(nan=largest, posinf=largest, neginf=largest)
        return cost.masked_fill((labels == 0)[:, None], torch.inf)


def assign(costs: Tensor) -> Tensor:
    """Return the object (L, N, Q) int64 of each query, or -1, at the least sum of `costs` (L, N, Q, G)."""
    on_host = costs.cpu().numpy()
    objects = np.full(on_host.shape[:3], -1, dtype=np.int64)
    for layer, image in np.ndindex(on_host.shape[:2]):
        table = on_host[layer, image]
        columns = np.flatnonzero(table[0] < np.inf)
        rows, found = linear_sum_assignment(table[:, columns])
        objects[layer, image, rows] = columns[found]
    return torch.from_numpy(objects).to(costs.device, non_blocking=True)
