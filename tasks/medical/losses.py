"""Losses of single labels, and weights from the counts of labels; the targets leave unknown labels out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return -log(probability of the truth of each finding), (N, K), of logits (N, K) and labels (N, K), 0 or 1."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def squared_emd(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the squared earth mover's distance to the true grade, (N,) in 0..K-1.

    Squared Earth Mover's Distance-based Loss for Training Deep Neural Networks, Hou et al. 2016,
    https://arxiv.org/abs/1611.05916, in its closed form for ordered classes: the sum over the grades of the squared
    difference between the two cumulative distributions. A probability costs more the farther it lies from the truth.

    Args:
        logits: (N, K), the grades in order.
        labels: (N,) int64 in 0..K-1.
    """
    predicted = logits.softmax(dim=1).cumsum(dim=1)
    true = F.one_hot(labels, logits.shape[1]).to(predicted.dtype).cumsum(dim=1)
    return (predicted - true).square().sum(dim=1)


def class_balanced(counts: Tensor, beta: float) -> Tensor:
    """Return a weight for each kind of label: the inverse of the effective number of its samples.

    Class-Balanced Loss Based on Effective Number of Samples, Cui et al. 2019, https://arxiv.org/abs/1901.05555: n
    samples count for (1 - beta^n) / (1 - beta). Where the paper scales the weights of the classes to a sum of K, here
    their mean over all samples is 1, so that a loss begins at the same height with them and without.

    Args:
        counts: (..., K) samples of each of the K that share a scale; of what never comes, one is assumed.
        beta: in 0..1, below 1; 0 weighs all alike, near 1 by the inverse of the counts.

    Returns:
        (..., K) float32, above 0.
    """
    number = counts.double().clamp(min=1)
    weights = (1 - beta) / -torch.expm1(number * torch.log(torch.tensor(beta, dtype=torch.float64)))
    total = (counts * weights).sum(dim=-1, keepdim=True)
    scale = torch.where(total > 0, counts.sum(dim=-1, keepdim=True) / total, 1)
    return (weights * scale).float()
