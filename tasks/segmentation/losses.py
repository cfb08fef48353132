"""Losses on pixels, in which a pixel labeled `IGNORE_INDEX` counts for nothing.

Each takes logits (N, K, H, W) and labels (N, H, W) int64 in 0..K-1 or `IGNORE_INDEX`, and gives one number in float32.
Where every pixel is ignored, that is a zero that gradients (of zero) flow through.
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
    """Mean cross-entropy.

    Args:
        class_weights: (K,) weight of each class; the mean is weighted, too.
        label_smoothing: share of each target that is spread evenly over all classes, from 0 to below 1.
    """

    def __init__(self, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(class_weights, label_smoothing, IGNORE_INDEX)


class FocalLoss(losses.FocalLoss):
    """Cross-entropy in which pixels that are already predicted well count for little.

    Focal Loss for Dense Object Detection, Lin et al. 2017, https://arxiv.org/abs/1708.02002, with a softmax.

    Args:
        gamma: exponent, 0 or more; 0 is cross-entropy.
        class_weights: as of `CrossEntropy`.
        label_smoothing: as of `CrossEntropy`.
    """

    def __init__(
        self, gamma: float = 2.0, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(gamma, class_weights, label_smoothing, IGNORE_INDEX)


class OHEM(nn.Module):
    """Mean cross-entropy of the hard pixels: those whose true class has a low probability, and at least a part of all.

    Training Region-based Object Detectors with Online Hard Example Mining, Shrivastava et al. 2016,
    https://arxiv.org/abs/1604.03540, for pixels.

    Args:
        threshold: a pixel is hard below this probability, in 0..1.
        least: part of the labeled pixels that counts even if they are not hard, in 0..1.
    """

    def __init__(self, threshold: float = 0.7, least: float = 0.0625) -> None:
        super().__init__()
        if not 0 < threshold <= 1 or not 0 < least <= 1:
            raise ValueError(f"threshold is {threshold} and least is {least}; both are above 0 and at most 1.")
        self.threshold = threshold
        self.least = least

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="none").flatten()
        known = (labels != IGNORE_INDEX).flatten()
        # the count stays a tensor: a number that Python sees would make the host wait for a GPU
        ordered = torch.where(known, each, -1.0).sort(descending=True).values
        place = torch.arange(len(ordered), device=each.device)
        number = known.sum()
        hard = ordered > -math.log(self.threshold)
        kept = (hard | (place < (self.least * number).ceil())) & (place < number)
        return (ordered * kept).sum() / kept.sum().clamp(min=1)


class Tversky(nn.Module):
    """One minus the Tversky index of each class over the batch, in the mean over the classes that are there.

    Tversky loss function for image segmentation, Salehi et al. 2017, https://arxiv.org/abs/1706.05721.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives.
        smooth: pixels added above and below.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> None:
        super().__init__()
        if min(alpha, beta) < 0 or smooth <= 0:
            raise ValueError(
                f"alpha, beta, smooth are {alpha}, {beta}, {smooth}; expected 0 or more, and smooth above."
            )
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        probs, truth = _known(logits, labels)
        both = (probs * truth).sum(dim=(0, 2))
        false, missed = probs.sum(dim=(0, 2)) - both, truth.sum(dim=(0, 2)) - both
        index = (both + self.smooth) / (both + self.alpha * false + self.beta * missed + self.smooth)
        return _mean_of_present(1 - index, truth)


class Dice(Tversky):
    """One minus Dice's coefficient of each class over the batch, in the mean over the classes that are there.

    V-Net, Milletari et al. 2016, https://arxiv.org/abs/1606.04797, with plain sums in the denominator.

    Args:
        smooth: pixels added above and below.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__(0.5, 0.5, smooth)


class Lovasz(nn.Module):
    """A convex surrogate of one minus the IoU of each class, in the mean over the classes that are there.

    The Lovász-Softmax loss, Berman et al. 2017, https://arxiv.org/abs/1705.08790; over the batch as a whole.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        probs, truth = _known(logits, labels)
        errors = (probs - truth).abs().permute(1, 0, 2).flatten(1)  # (K, P); an ignored pixel has none
        errors, order = errors.sort(dim=1, descending=True)
        sorted_truth = truth.permute(1, 0, 2).flatten(1).gather(1, order)
        number = sorted_truth.sum(dim=1, keepdim=True)
        found = number - sorted_truth.cumsum(dim=1)
        # an ignored pixel is sorted behind all errors: its gradient is multiplied by an error of zero
        union = number + (1 - sorted_truth).cumsum(dim=1)
        jaccard = 1 - found / union.clamp(min=1)
        steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
        return _mean_of_present((errors * steps).sum(dim=1), truth)


class Sum(nn.Module):
    """A weighted sum of losses.

    Args:
        losses: the losses.
        weights: one a loss; None for 1.
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not losses or (weights is not None and len(weights) != len(losses)):
            raise ValueError(f"there are {len(losses)} losses and the weights {weights}; give one weight a loss.")
        self.losses = nn.ModuleList(losses)
        self.weights = [1.0] * len(losses) if weights is None else list(weights)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        parts = [weight * loss(logits, labels) for weight, loss in zip(self.weights, self.losses, strict=True)]
        return torch.stack(parts).sum()


def _known(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and the truth as 0 and 1, both (N, K, H * W) float32 and zero where ignored."""
    known = (labels != IGNORE_INDEX).flatten(1)[:, None]
    probs = logits.float().flatten(2).softmax(dim=1) * known
    filled = torch.where(labels == IGNORE_INDEX, 0, labels).flatten(1)[:, None]
    truth = torch.zeros_like(probs).scatter_(1, filled, known.to(probs.dtype))
    return probs, truth


def _mean_of_present(losses: Tensor, truth: Tensor) -> Tensor:
    present = truth.sum(dim=(0, 2)) > 0
    return (losses * present).sum() / present.sum().clamp(min=1)
