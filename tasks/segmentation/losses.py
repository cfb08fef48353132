"""Segmentation losses with ignored pixels: cross-entropy, focal, OHEM, Tversky, Dice and Lovász-Softmax.

Each maps logits (N, K, H, W) and labels (N, H, W) int64 in 0..K-1 or `IGNORE_INDEX` to a float32 scalar. If all pixels
are ignored, the loss is a zero with zero gradients, so that a backward pass still works.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.training import losses


class CrossEntropy(losses.CrossEntropy):
    """Mean cross-entropy over labeled pixels.

    Args:
        class_weights: (K,) weight of each class; the mean is weighted, too.
        label_smoothing: probability mass of each target spread uniformly over all classes, from 0 to below 1.
    """

    def __init__(self, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(class_weights, label_smoothing, IGNORE_INDEX)


class FocalLoss(losses.FocalLoss):
    """Focal loss with softmax: cross-entropy that down-weights well-classified pixels.

    Focal Loss for Dense Object Detection, Lin et al. 2017, https://arxiv.org/abs/1708.02002.

    Args:
        gamma: focusing exponent, 0 or more; 0 is cross-entropy.
        class_weights: see `CrossEntropy`.
        label_smoothing: see `CrossEntropy`.
    """

    def __init__(
        self, gamma: float = 2.0, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(gamma, class_weights, label_smoothing, IGNORE_INDEX)


class OHEM(nn.Module):
    """Cross-entropy with online hard example mining: the mean over hard pixels.

    Training Region-based Object Detectors with Online Hard Example Mining, Shrivastava et al. 2016,
    https://arxiv.org/abs/1604.03540, on pixels instead of regions. A pixel is hard if the probability of its true class
    is below the threshold.

    Args:
        threshold: probability below which a pixel is hard, above 0 and at most 1.
        min_fraction: minimum fraction of labeled pixels to average over, hardest first, above 0 and at most 1.
    """

    def __init__(self, threshold: float = 0.7, min_fraction: float = 0.0625) -> None:
        super().__init__()
        if not 0 < threshold <= 1 or not 0 < min_fraction <= 1:
            raise ValueError(
                f"threshold is {threshold} and min_fraction is {min_fraction}; expected both above 0 and at most 1."
            )
        self.threshold = threshold
        self.min_fraction = min_fraction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="none").flatten()
        labeled = (labels != IGNORE_INDEX).flatten()
        # -1 sorts ignored pixels after all others, since a cross-entropy is never negative
        ordered = torch.where(labeled, losses, -1.0).sort(descending=True).values
        rank = torch.arange(len(ordered), device=losses.device)
        # masks instead of slices: a count as a Python number would synchronize host and GPU
        num_labeled = labeled.sum()
        hard = ordered > -math.log(self.threshold)
        selected = (hard | (rank < (self.min_fraction * num_labeled).ceil())) & (rank < num_labeled)
        return (ordered * selected).sum() / selected.sum().clamp(min=1)


class Tversky(nn.Module):
    """Tversky loss: one minus the Tversky index over the batch, averaged over the classes present.

    Tversky loss function for image segmentation, Salehi et al. 2017, https://arxiv.org/abs/1706.05721.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives.
        smooth: smoothing term in pixels, added to numerator and denominator.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> None:
        super().__init__()
        if min(alpha, beta) < 0 or smooth <= 0:
            raise ValueError(
                f"alpha, beta, smooth are {alpha}, {beta}, {smooth}; expected 0 or more, and smooth above 0."
            )
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        probs, targets = _probs_and_targets(logits, labels)
        # soft counts over the batch, not per image: an image may lack a class
        tp = (probs * targets).sum(dim=(0, 2))
        fp, fn = probs.sum(dim=(0, 2)) - tp, targets.sum(dim=(0, 2)) - tp
        index = (tp + self.smooth) / (tp + self.alpha * fp + self.beta * fn + self.smooth)
        return _mean_of_present(1 - index, targets)


class Dice(Tversky):
    """Soft Dice loss: one minus the Dice coefficient over the batch, averaged over the classes present.

    V-Net, Milletari et al. 2016, https://arxiv.org/abs/1606.04797, with sums instead of sums of squares in the
    denominator.

    Args:
        smooth: smoothing term in pixels, added to numerator and denominator.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__(0.5, 0.5, smooth)  # Tversky with equal weights of 1/2 is Dice


class Lovasz(nn.Module):
    """Lovász-Softmax loss: convex surrogate of one minus the IoU, averaged over the classes present in the batch.

    The Lovász-Softmax loss, Berman et al. 2017, https://arxiv.org/abs/1705.08790.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        probs, targets = _probs_and_targets(logits, labels)
        errors = (probs - targets).abs().permute(1, 0, 2).flatten(1)  # (K, P); 0 for ignored pixels
        errors, order = errors.sort(dim=1, descending=True)
        sorted_targets = targets.permute(1, 0, 2).flatten(1).gather(1, order)
        num_positives = sorted_targets.sum(dim=1, keepdim=True)
        intersection = num_positives - sorted_targets.cumsum(dim=1)
        # ignored pixels sort last and inflate the union only there, where the error that multiplies it is zero
        union = num_positives + (1 - sorted_targets).cumsum(dim=1)
        jaccard = 1 - intersection / union.clamp(min=1)
        gradient = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)  # of the Lovász extension
        return _mean_of_present((errors * gradient).sum(dim=1), targets)


class Sum(nn.Module):
    """Weighted sum of losses.

    Args:
        losses: the terms.
        weights: weight of each term; None for 1.
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not losses or (weights is not None and len(weights) != len(losses)):
            raise ValueError(f"{len(losses)} losses with weights {weights}; expected a weight per loss. Give as many.")
        self.losses = nn.ModuleList(losses)
        self.weights = [1.0] * len(losses) if weights is None else list(weights)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        terms = [weight * loss(logits, labels) for weight, loss in zip(self.weights, self.losses, strict=True)]
        return torch.stack(terms).sum()


def _probs_and_targets(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and one-hot targets, both (N, K, H * W) float32 and zero where ignored."""
    labeled = (labels != IGNORE_INDEX).flatten(1)[:, None]
    probs = logits.float().flatten(2).softmax(dim=1) * labeled
    # 255 is out of range for scatter: ignored pixels write a 0 into class 0 instead
    filled = torch.where(labels == IGNORE_INDEX, 0, labels).flatten(1)[:, None]
    targets = torch.zeros_like(probs).scatter_(1, filled, labeled.to(probs.dtype))
    return probs, targets


def _mean_of_present(losses: Tensor, targets: Tensor) -> Tensor:
    # an absent class has an index near 0 for any prediction, and its gradient would only push probabilities down
    present = targets.sum(dim=(0, 2)) > 0
    return (losses * present).sum() / present.sum().clamp(min=1)
