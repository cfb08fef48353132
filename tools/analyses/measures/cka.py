"""Centered kernel alignment: similarity of the representations of two layers.

Similarity of Neural Network Representations Revisited, Kornblith et al. 2019, https://arxiv.org/abs/1905.00414, with
the unbiased estimator over minibatches of Do Wide and Deep Networks Learn the Same Things?, Nguyen et al. 2021,
https://arxiv.org/abs/2010.15327.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MIN_BATCH = 4  # samples that the unbiased estimator needs


class MinibatchCKA:
    """Linear CKA of every layer of one network with every layer of another, accumulated over minibatches.

    Numerator and denominator are each averaged over the batches, and do not depend on the batch size in expectation.
    The result is 1 for equal representations, is invariant to orthogonal transforms and isotropic scaling of the
    features, and is 0 in expectation for independent ones, around which it may be negative.
    """

    def __init__(self) -> None:
        self._cross: Tensor | float = 0.0
        self._first: Tensor | float = 0.0
        self._second: Tensor | float = 0.0

    def update(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Add a batch.

        Args:
            first: `gram` of P layers of the one network, each (N, N) for the same N samples.
            second: `gram` of Q layers of the other network.

        Raises:
            ValueError: there are fewer than four samples.
        """
        if len(first[0]) < MIN_BATCH:
            raise ValueError(
                f"a batch has {len(first[0])} samples; unbiased CKA needs at least {MIN_BATCH}. Give more, or larger "
                "batches."
            )
        a, b = torch.stack(list(first)), torch.stack(list(second))
        self._cross = self._cross + unbiased_hsic(a[:, None], b[None])
        self._first = self._first + unbiased_hsic(a, a)
        self._second = self._second + unbiased_hsic(b, b)

    def compute(self) -> Tensor:
        """Return the similarity of each pair of layers, (P, Q); NaN where a layer is constant."""
        first, second = torch.as_tensor(self._first), torch.as_tensor(self._second)
        scale = first.clamp_min(0)[:, None].sqrt() * second.clamp_min(0)[None].sqrt()
        return torch.where(scale > 0, torch.as_tensor(self._cross) / scale, torch.nan)


def unbiased_hsic(a: Tensor, b: Tensor) -> Tensor:
    """Return the unbiased estimate of the Hilbert-Schmidt independence criterion, from Gram matrices.

    Song et al. 2012, Feature Selection via Dependence Maximization, JMLR 13, equation 4.

    Args:
        a: (..., N, N) with zeros on the diagonal.
        b: of a shape that broadcasts with it, likewise.
    """
    n = a.shape[-1]
    rows_a, rows_b = a.sum(dim=-1), b.sum(dim=-1)
    trace = (a * b).sum(dim=(-2, -1))
    totals = rows_a.sum(dim=-1) * rows_b.sum(dim=-1) / ((n - 1) * (n - 2))
    return (trace + totals - 2 / (n - 2) * (rows_a * rows_b).sum(dim=-1)) / (n * (n - 3))


def gram(x: Tensor) -> Tensor:
    """Return the inner products of the centered and scaled samples of a layer, with zeros on the diagonal.

    Args:
        x: (N, ...) output of a layer.

    Returns:
        (N, N) float64.
    """
    features = x.flatten(1).float()
    features = features - features.mean(dim=0)  # no effect on the estimate, but on its rounding
    features = features / features.square().mean().sqrt().clamp_min(1e-30)
    products = (features @ features.T).double() / features.shape[1]
    return products.fill_diagonal_(0)
