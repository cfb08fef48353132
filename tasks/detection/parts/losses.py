"""Losses of detectors: box regression, and classification of dense candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vertebra.tasks.detection.parts.assigners import IGNORE
from vertebra.tasks.detection.parts.box_coder import Coder
from vertebra.tasks.detection.parts.boxes import area, paired_iou


class BoxLoss(ABC):
    """Regression loss of each candidate box; the caller sums and normalizes."""

    @abstractmethod
    def __call__(self, coder: Coder, deltas: Tensor, references: Tensor, boxes: Tensor, counted: Tensor) -> Tensor:
        """Compare predicted deltas with true boxes.

        Args:
            coder: of the deltas.
            deltas: (..., 4), predicted.
            references: (..., 4) xyxy anchors or proposals; shapes broadcast.
            boxes: (..., 4) xyxy, the true ones.
            counted: (...) bool; elsewhere the loss and its gradient are 0, whatever is in `boxes`.

        Returns:
            (...) or (..., 4), to be summed.
        """


@dataclass
class SmoothL1(BoxLoss):
    """Smooth L1 over the deltas: quadratic below `beta`, linear above.

    Fast R-CNN, Girshick 2015, https://arxiv.org/abs/1504.08083.

    Args:
        beta: where the two pieces meet; 0 is plain L1.
    """

    beta: float = 1.0

    def __call__(self, coder: Coder, deltas: Tensor, references: Tensor, boxes: Tensor, counted: Tensor) -> Tensor:
        wanted = coder.encode(boxes, references)
        # padding encodes to infinities and NaN, of which a mask on the loss would leave NaN in the gradient
        wanted = torch.where(counted[..., None], wanted, deltas.detach())
        return F.smooth_l1_loss(deltas, wanted, beta=self.beta, reduction="none")


class SquaredIoU(BoxLoss):
    """1 - IoU squared between decoded and true boxes, in 0..1; boxes that lie apart have no gradient.

    The loss of YOLOX, Ge et al. 2021, https://arxiv.org/abs/2107.08430.
    """

    def __call__(self, coder: Coder, deltas: Tensor, references: Tensor, boxes: Tensor, counted: Tensor) -> Tensor:
        found = coder.decode(deltas, references)
        # padding has no area, and NaN in an unused branch would reach the gradient: it is compared with itself
        boxes = torch.where(counted[..., None], boxes, found.detach())
        return (1 - paired_iou(found, boxes) ** 2).masked_fill(~counted, 0.0)


@dataclass
class GIoU(BoxLoss):
    """1 - GIoU between decoded and true boxes, which is in 0..2 and has a gradient for boxes that lie apart.

    Generalized Intersection over Union, Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630.

    Args:
        eps: added to the areas that are divided by, in square pixels.
    """

    eps: float = 1e-7

    def __call__(self, coder: Coder, deltas: Tensor, references: Tensor, boxes: Tensor, counted: Tensor) -> Tensor:
        found = coder.decode(deltas, references)
        # padding has no area, and NaN in an unused branch would reach the gradient: it is compared with itself
        boxes = torch.where(counted[..., None], boxes, found.detach())
        inner = torch.minimum(found[..., 2:], boxes[..., 2:]) - torch.maximum(found[..., :2], boxes[..., :2])
        outer = torch.maximum(found[..., 2:], boxes[..., 2:]) - torch.minimum(found[..., :2], boxes[..., :2])
        inner = inner.clamp(min=0)
        # written out: the gradient of prod() reads back from the device whether there are zeros
        shared, hull = inner[..., 0] * inner[..., 1], outer[..., 0] * outer[..., 1]
        union = area(found) + area(boxes) - shared
        loss = 1 - shared / (union + self.eps) + (hull - union) / (hull + self.eps)
        return loss.masked_fill(~counted, 0.0)


def sigmoid_focal_loss(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the focal loss of each candidate, summed over its classes, each of which is a yes or no of its own.

    Focal Loss for Dense Object Detection, Lin et al. 2017, https://arxiv.org/abs/1708.02002.

    Args:
        logits: (..., K).
        labels: (...) int64 in 1..K, 0 for background, `IGNORE` for a loss and gradient of 0.
        alpha: weight of the true class; the others have 1 - alpha.
        gamma: how much less easy examples count; 0 is cross-entropy.

    Returns:
        (...) sums over the classes.
    """
    return _FocalLoss.apply(logits, labels, alpha, gamma)


class _FocalLoss(torch.autograd.Function):
    """The focal loss with its gradient, computed in one go: logits are the largest tensor of a one-stage detector.

    Every class is first taken to be absent, and the true one is then replaced, since hardly any candidate has one.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
        probs, loss = logits.sigmoid(), F.softplus(logits)
        factor = probs.pow(gamma).mul_(1 - alpha)
        # of p^gamma * softplus(x), whose factors have the derivatives gamma * p^gamma * (1 - p) and p
        gradient = (1 - probs).mul_(gamma).mul_(loss).add_(probs).mul_(factor)
        loss.mul_(factor)

        is_object, place = labels > 0, (labels - 1).clamp(min=0)[..., None]
        wrong = -logits.gather(-1, place)
        prob, own_loss = wrong.sigmoid(), F.softplus(wrong)
        own_factor = alpha * prob.pow(gamma)
        own_gradient = -own_factor * (gamma * (1 - prob) * own_loss + prob)
        for dense, own in ((loss, own_factor * own_loss), (gradient, own_gradient)):
            dense.scatter_(-1, place, own.where(is_object[..., None], dense.gather(-1, place)))
        is_ignored = labels == IGNORE
        ctx.save_for_backward(gradient, is_ignored)
        return loss.sum(dim=-1).masked_fill_(is_ignored, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None, None]:
        gradient, is_ignored = ctx.saved_tensors
        return gradient * outputs[0].masked_fill(is_ignored, 0.0)[..., None], None, None, None
