"""Cross-entropy and focal loss, shared by the tasks.

Each takes logits (N, K, ...) and labels, and gives the mean over the labels that are not ignored, in float32. Labels
are (N, ...) int64 in 0..K-1 or the ignored one; or (N, K, ...) float32, the share of each class, as mixup makes them.
Where every label is ignored, the loss is a zero that gradients (of zero) flow through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.tasks.loading.labeled_files import UNLABELED


class CrossEntropy(nn.Module):
    """Mean cross-entropy.

    Args:
        class_weights: (K,) weight of each class; the mean is weighted, too.
        label_smoothing: share of each target that is spread evenly over all classes, from 0 to below 1 (Rethinking the
            Inception Architecture, Szegedy et al. 2015, https://arxiv.org/abs/1512.00567).
        ignore_index: the label that counts for nothing.
    """

    weight: Tensor | None

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int = UNLABELED,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; it is a share of the target, from 0 to below 1.")
        if class_weights is not None and not all(0 <= weight < math.inf for weight in class_weights):
            raise ValueError(f"class_weights are {list(class_weights)}; expected finite numbers, none below 0.")
        weight = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        # the sum in one kernel; its own mean is NaN where every label is ignored
        total = self._cross_entropy(logits, labels, self.weight, "sum")
        return total / _above_zero(self._weights(labels).sum())

    def _cross_entropy(self, logits: Tensor, labels: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
        return F.cross_entropy(
            logits.float(),
            labels,
            weight=weight,
            ignore_index=self.ignore_index,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
        )

    def _weights(self, labels: Tensor) -> Tensor:
        """Return the weight of each label (N, ...), of shares the mean weight of their classes."""
        if labels.is_floating_point():
            if self.weight is None:
                return torch.ones_like(labels[:, 0])
            return (labels.movedim(1, -1) * self.weight).sum(dim=-1)
        return label_weights(labels, self.weight, self.ignore_index)


class FocalLoss(CrossEntropy):
    """Cross-entropy in which labels that are already predicted well count for little, see `focal`.

    Args:
        gamma: exponent, 0 or more; 0 is cross-entropy.
        class_weights: as of `CrossEntropy`.
        label_smoothing: as of `CrossEntropy`.
        ignore_index: as of `CrossEntropy`.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int = UNLABELED,
    ) -> None:
        super().__init__(class_weights, label_smoothing, ignore_index)
        self.gamma = checked_gamma(gamma)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        # class weights come behind the focal factor, which is a function of the probability alone
        losses = focal(self._cross_entropy(logits, labels, None, "none"), self.gamma)
        return weighted_mean(losses, self._weights(labels))


def focal(losses: Tensor, gamma: float) -> Tensor:
    """Return the focal loss of each label, (1 - p)^gamma times its cross-entropy -log(p).

    Focal Loss for Dense Object Detection, Lin et al. 2017, https://arxiv.org/abs/1708.02002, without the factor alpha,
    which is a class weight like others.

    Args:
        losses: cross-entropies, softmax or binary, of any shape.
        gamma: 0 changes nothing; the paper's is 2.
    """
    # 1 - p without cancellation; above 0, where a power below 1 has no slope
    missing = (-torch.expm1(-losses)).clamp(min=torch.finfo(losses.dtype).tiny)
    return missing**gamma * losses


def checked_gamma(gamma: float) -> float:
    """Return the exponent of a focal loss.

    Raises:
        ValueError: it is below 0.
    """
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}; it is an exponent, 0 or more.")
    return gamma


def label_weights(labels: Tensor, weight: Tensor | None, ignore_index: int = UNLABELED) -> Tensor:
    """Return the weight of each label: 0 if it is ignored, else that of its class, or 1 (True) without weights.

    Args:
        labels: (N, ...) int64 in 0..K-1 or `ignore_index`.
        weight: (K,) float32, or None.
        ignore_index: the label that counts for nothing.

    Returns:
        (N, ...), bool without weights, else float32.
    """
    # looked up at 0 where ignored, since -1 would be the last class and 255 out of range
    known = labels != ignore_index
    return known if weight is None else weight[torch.where(known, labels, 0)] * known


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of losses weighted by numbers of the same shape; 0 where all of these are 0."""
    return (losses * weights).sum() / _above_zero(weights.sum())


def _above_zero(total: Tensor) -> Tensor:
    """Return a sum of weights, 1 in place of 0: below it are losses of 0 alone."""
    return torch.where(total > 0, total, 1)
