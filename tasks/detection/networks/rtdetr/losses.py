"""The losses of RT-DETR: a varifocal loss of the classes, L1 and GIoU of the boxes, for every layer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.detection.networks.rtdetr.coordinates import iou_and_giou, relative, to_centers, to_corners
from vertebra.tasks.detection.parts.assigners import CROWD_COVERAGE
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.boxes import coverage


class Truth(NamedTuple):
    """The true boxes of a batch as RT-DETR predicts them.

    Attributes:
        boxes: (N, G, 4) cxcywh, parts of the padded image.
        labels: (N, G) int64 in 1..K, 0 where padded.
        ignored: (N, I, 4) xyxy, parts of the padded image: crowds.
    """

    boxes: Tensor
    labels: Tensor
    ignored: Tensor

    @classmethod
    def of(cls, targets: Targets, image_size: tuple[int, int]) -> Truth:
        """Return the truth of padded images of `image_size` (H, W)."""
        boxes, ignored = (relative(x, image_size) for x in (targets.boxes, targets.ignored))
        return cls(to_centers(boxes), targets.labels, ignored)

    @property
    def num_objects(self) -> Tensor:
        """How many objects the batch has, a scalar on its device."""
        return (self.labels > 0).sum()


@dataclass
class SetLoss:
    """Compares queries with the objects that they are matched to; those without an object are background.

    Varifocal loss: VarifocalNet, Zhang et al. 2020, https://arxiv.org/abs/2008.13367; the score of a query is to be
    the IoU of its box.

    Args:
        class_weight: of the varifocal loss.
        l1_weight: of the L1 distance of centers and sizes, as parts of the image.
        giou_weight: of 1 - GIoU.
        alpha: weight of the background in the varifocal loss.
        gamma: how much less easy background counts.
    """

    class_weight: float = 1.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    alpha: float = 0.75
    gamma: float = 2.0

    def __call__(
        self, logits: Tensor, boxes: Tensor, objects: Tensor, truth: Truth, prefix: str = "loss_"
    ) -> dict[str, Tensor]:
        """Return weighted sums over queries and images, one number a layer.

        Args:
            logits: (L, N, Q, K).
            boxes: (L, N, Q, 4) cxcywh in 0..1.
            objects: (L, N, Q) int64, or -1 for background.
            truth: the objects.
            prefix: of the names.

        Returns:
            `classifier`, `box_l1` and `box_giou` behind the prefix, each (L,).
        """
        matched = objects >= 0
        chosen = objects.clamp(min=0)
        labels = truth.labels.expand(len(objects), -1, -1).gather(2, chosen).masked_fill(~matched, 0)
        wanted = truth.boxes.expand(len(objects), -1, -1, -1).gather(2, chosen[..., None].expand(-1, -1, -1, 4))
        # padding has no area: it is compared with itself, so that no NaN reaches the gradient
        wanted = torch.where(matched[..., None], wanted, boxes.detach())
        iou, giou = iou_and_giou(to_corners(boxes), to_corners(wanted))

        is_class = labels[..., None] == torch.arange(1, logits.shape[-1] + 1, device=logits.device)
        score = torch.where(is_class, iou.detach()[..., None], 0.0)
        weight = torch.where(is_class, score, self.alpha * logits.detach().sigmoid().pow(self.gamma))
        varifocal = F.binary_cross_entropy_with_logits(logits, score, weight, reduction="none").sum(dim=-1)
        if truth.ignored.shape[1]:
            in_crowd = coverage(to_corners(boxes.detach()), truth.ignored).amax(dim=-1) >= CROWD_COVERAGE
            varifocal = varifocal.masked_fill(in_crowd & ~matched, 0.0)
        l1 = (boxes - wanted).abs().sum(dim=-1)
        return {
            f"{prefix}classifier": self.class_weight * varifocal.sum(dim=(1, 2)),
            f"{prefix}box_l1": self.l1_weight * l1.sum(dim=(1, 2)),
            f"{prefix}box_giou": self.giou_weight * (1 - giou).masked_fill(~matched, 0.0).sum(dim=(1, 2)),
        }
