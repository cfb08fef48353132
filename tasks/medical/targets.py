"""Targets, the meaning of labels with its loss: exclusive classes, ordered grades, or any number of findings.

All have K logits a study. Unknown labels are left out of the mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from vertebra.tasks.loading.labeled_files import UNLABELED
from vertebra.tasks.medical.losses import binary_cross_entropy, class_balanced, squared_emd
from vertebra.tasks.medical.studies import Kind
from vertebra.tasks.training.losses import checked_gamma, focal, label_weights, weighted_mean


class Target(nn.Module, ABC):
    """The meaning of labels, and the loss that goes with it.

    Args:
        weights: of the labels, see the subclass; None for 1.
        balance: beta of `losses.class_balanced`, from 0 to below 1, for weights from the frequencies of the labels that
            `prepare` gets; None for none. Start with 0.999 for some hundreds of studies.

    Attributes:
        kind: what to call it.
        weight: the weights, None before they are known.
    """

    kind: ClassVar[Kind]
    weight: Tensor | None

    def __init__(self, weights: Tensor | None, balance: float | None) -> None:
        super().__init__()
        if weights is not None and balance is not None:
            raise ValueError("weights and balance are both given; give the weights, or let them be counted.")
        if weights is not None and not bool((weights.isfinite() & (weights > 0)).all()):
            raise ValueError(f"weights are {weights.tolist()}; each is a finite number above 0.")
        if balance is not None and not 0 <= balance < 1:
            raise ValueError(f"balance is {balance}; it is beta of the effective number, from 0 to below 1.")
        self.balance = balance
        self.register_buffer("weight", weights, persistent=False)

    def prepare(self, class_counts: ArrayLike, known_counts: ArrayLike) -> None:
        """Compute the weights from the frequencies of labels in the training data, if there is a `balance`.

        Args:
            class_counts: (K,) studies of each class, or that have each finding.
            known_counts: (K,) studies of which that is known.
        """
        if self.balance is not None:
            kinds = self._kinds(torch.as_tensor(class_counts), torch.as_tensor(known_counts))
            self.weight = class_balanced(kinds, self.balance)

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss in float32; of unknown labels alone a zero that gradients (of zero) flow through.

        Args:
            logits: (N, K).
            labels: (N,) int64 in 0..K-1 or `UNLABELED`; of findings (N, K) float, 1 there, 0 not there, NaN unknown.
        """

    @abstractmethod
    def probs(self, logits: Tensor) -> Tensor:
        """Return probabilities, (N, K) float32 in 0..1."""

    @abstractmethod
    def _kinds(self, class_counts: Tensor, known_counts: Tensor) -> Tensor:
        """Return the counts of what shares a scale, the kinds of labels in the last axis."""

    def _weight(self, logits: Tensor) -> Tensor | None:
        """Return the weights on the device of the logits, None where all are 1."""
        if self.weight is None:
            if self.balance is not None:
                raise ValueError(
                    "balance needs counts of labels; call target.prepare(class_counts, known_counts) first."
                )
            return None
        if len(self.weight) != logits.shape[1]:
            raise ValueError(f"there are {len(self.weight)} weights for {logits.shape[1]} classes; give one for each.")
        return self.weight.to(logits.device)


class Classes(Target):
    """Exclusive classes, of which binary is two; the loss is cross-entropy, and the mean is weighted, too, as torch's.

    Args:
        gamma: exponent of the focal loss, see `vertebra.tasks.training.losses.focal`; 0 for plain cross-entropy.
        weights: (K,) of the classes.
        balance: see `Target`.
    """

    kind: ClassVar[Kind] = "classes"

    def __init__(
        self, gamma: float = 0.0, weights: Sequence[float] | None = None, balance: float | None = None
    ) -> None:
        super().__init__(None if weights is None else torch.tensor(weights, dtype=torch.float32), balance)
        self.gamma = checked_gamma(gamma)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each study, (N,), of logits (N, K) and labels (N,) in 0..K-1."""
        return focal(F.cross_entropy(logits, labels, reduction="none"), self.gamma)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = self.losses(logits.float(), torch.where(labels != UNLABELED, labels, 0))
        return weighted_mean(losses, label_weights(labels, self._weight(logits), UNLABELED))

    def probs(self, logits: Tensor) -> Tensor:
        return logits.float().softmax(dim=1)

    def _kinds(self, class_counts: Tensor, known_counts: Tensor) -> Tensor:
        return class_counts


class Grades(Classes):
    """Classes in order, such as the grades of a disease; the loss is the squared earth mover's distance.

    Args:
        weights: (K,) of the grades.
        balance: see `Target`.
    """

    kind: ClassVar[Kind] = "grades"

    def __init__(self, weights: Sequence[float] | None = None, balance: float | None = None) -> None:
        super().__init__(weights=weights, balance=balance)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return squared_emd(logits, labels)


class Findings(Target):
    """Findings of which any number may be there; the loss is binary cross-entropy, in the mean over known labels.

    Args:
        gamma: exponent of the focal loss, see `vertebra.tasks.training.losses.focal`; 0 for plain cross-entropy.
        positive_weights: (K,) of the label there, beside 1 for not there, as torch's `pos_weight`.
        balance: see `Target`; it weighs there against not there, each finding for itself.
    """

    kind: ClassVar[Kind] = "findings"

    def __init__(
        self, gamma: float = 0.0, positive_weights: Sequence[float] | None = None, balance: float | None = None
    ) -> None:
        weights = None
        if positive_weights is not None:
            positive = torch.tensor(positive_weights, dtype=torch.float32)
            weights = torch.stack([torch.ones_like(positive), positive], dim=1)  # (K, 2)
        super().__init__(weights, balance)
        self.gamma = checked_gamma(gamma)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        known = ~labels.isnan()
        filled = torch.where(known, labels, 0).float()
        losses = focal(binary_cross_entropy(logits.float(), filled), self.gamma)
        weight = self._weight(logits)
        if weight is not None:
            losses = losses * torch.where(filled > 0, weight[:, 1], weight[:, 0])
        return weighted_mean(losses, known)

    def probs(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid()

    def _kinds(self, class_counts: Tensor, known_counts: Tensor) -> Tensor:
        return torch.stack([known_counts - class_counts, class_counts], dim=-1)
