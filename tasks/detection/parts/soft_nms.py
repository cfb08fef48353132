"""Soft non-maximum suppression: boxes that overlap a better one lose score instead of being removed.

Soft-NMS: Improving Object Detection With One Line of Code, Bodla et al. 2017, https://arxiv.org/abs/1704.04503
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.boxes import paired_iou


@dataclass
class SoftNMS:
    """Decay of the scores of boxes that overlap a better box of their class.

    `score_threshold` of the selection applies to the decayed scores; the paper has 0.001.

    Args:
        method: `linear` multiplies by 1 - IoU from `nms_threshold` on, `gaussian` by exp(-IoU^2 / sigma) everywhere.
        sigma: width of `gaussian`.

    Raises:
        ValueError: an unknown method, or a sigma that is not positive.
    """

    method: Literal["linear", "gaussian"] = "gaussian"
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if self.method not in ("linear", "gaussian"):
            raise ValueError(f"soft_nms.method is {self.method!r}; choose linear or gaussian.")
        if not self.sigma > 0:
            raise ValueError(f"soft_nms.sigma is {self.sigma}; expected a number above 0, such as 0.5.")

    def decay(self, overlaps: Tensor, threshold: float) -> Tensor:
        """Return the factors (...) on the scores of boxes with these overlaps (...), in 0..1."""
        if self.method == "gaussian":
            return torch.exp(-overlaps.square() / self.sigma)
        return torch.where(overlaps >= threshold, 1 - overlaps, 1.0)

    @torch.no_grad()
    def __call__(
        self, boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, least: float
    ) -> tuple[Tensor, Tensor]:
        """Decay the scores of all groups at once: each step takes the best remaining box of every group.

        Args:
            boxes: (B, 4) xyxy.
            scores: (B,) above 0.
            groups: (B,) int64, from 0 on; boxes of different groups do not affect each other.
            threshold: overlap from which `linear` applies.
            least: boxes whose score falls to it are dropped.

        Returns:
            Indices of the kept boxes, best score first, and their scores.
        """
        _, groups, sizes = groups.unique(return_inverse=True, return_counts=True)
        places = torch.arange(len(boxes), device=boxes.device)
        left, decayed = scores.clone(), torch.zeros_like(scores)
        for _ in range(int(sizes.max()) if len(boxes) else 0):
            best = left.new_zeros(len(sizes)).scatter_reduce_(0, groups, left, "amax")
            is_best = (left == best[groups]) & (left > 0)
            # the first of equal scores; a group without boxes left points to the last box, and has no score to decay
            first = places.new_full((len(sizes),), len(boxes) - 1)
            first.scatter_reduce_(0, groups, places.where(is_best, len(boxes) - 1), "amin")
            chosen = first[groups]
            taken = is_best & (places == chosen)
            decayed = left.where(taken, decayed)
            left = left * self.decay(paired_iou(boxes, boxes[chosen]), threshold)
            left = left.masked_fill(taken | (left <= least), 0.0)
        kept = decayed.argsort(descending=True, stable=True)[: int((decayed > least).sum())]
        return kept, decayed[kept]
