"""How far decisions agree with the truth, from confusion matrices of all studies or of a draw.

Confusion matrices are (..., K, K); their rows are the truth, their columns the decision.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rates(NamedTuple):
    """How good decisions are, in 0..1; NaN where there was nothing to decide. Each of the same shape.

    Attributes:
        sensitivity: part of those who have the condition that is called positive.
        specificity: part of those who have it not that is called negative.
        ppv: positive predictive value, part of those called positive who have it.
        npv: negative predictive value, part of those called negative who have it not.
    """

    sensitivity: np.ndarray
    specificity: np.ndarray
    ppv: np.ndarray
    npv: np.ndarray


class Pairs:
    """Pairs of truth and decision, which give the confusion matrices of any number of draws.

    Args:
        truth: (N, M) in 0..K-1, or NaN for pairs that are left out.
        decided: (N, M) in 0..K-1.
        num_classes: K.
    """

    def __init__(self, truth: np.ndarray, decided: np.ndarray, num_classes: int) -> None:
        self._shape = (truth.shape[1], num_classes, num_classes)
        self._rows, columns = np.nonzero(~np.isnan(truth))
        labels, found = truth[self._rows, columns].astype(np.int64), decided[self._rows, columns].astype(np.int64)
        self._cells = np.ravel_multi_index((columns, labels, found), self._shape)

    def confusion(self, times: np.ndarray | None = None) -> np.ndarray:
        """Count the pairs of each column.

        Args:
            times: (N,) how often each row is drawn; None for once.

        Returns:
            (M, K, K) int64.
        """
        weights = None if times is None else times[self._rows]
        counts = np.bincount(self._cells, weights=weights, minlength=int(np.prod(self._shape)))
        return counts.astype(np.int64).reshape(self._shape)


def rates(confusion: np.ndarray) -> Rates:
    """Return the rates of confusion matrices (..., 2, 2), whose rows are the truth and whose columns the decision."""
    right = _right(confusion)
    specificity, sensitivity = np.moveaxis(_ratio(right, confusion.sum(axis=-1)), -1, 0)
    npv, ppv = np.moveaxis(_ratio(right, confusion.sum(axis=-2)), -1, 0)
    return Rates(sensitivity, specificity, ppv, npv)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the part (...) in 0..1 of the decisions that is right; NaN where there is none."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the mean (...) in 0..1 of the accuracies within each class, over the classes that there are."""
    counts = confusion.sum(axis=-1)
    within = np.divide(_right(confusion), counts, out=np.zeros(counts.shape), where=counts > 0)
    return _ratio(within.sum(axis=-1), (counts > 0).sum(axis=-1))


def per_class_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the F1 (..., K) in 0..1 of each class: the harmonic mean of its recall and its precision.

    NaN for a class that is neither in the truth nor decided for.
    """
    return _ratio(2 * _right(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


def cohen_kappa(confusion: np.ndarray, quadratic: bool = False) -> np.ndarray:
    """Return Cohen's kappa (...) in -1..1: the agreement beyond what chance gives; 1 for all, 0 for chance.

    A Coefficient of Agreement for Nominal Scales, Cohen 1960, https://doi.org/10.1177/001316446002000104; Weighted
    Kappa, Cohen 1968, https://doi.org/10.1037/h0026256. NaN where chance agrees always.

    Args:
        confusion: (..., K, K).
        quadratic: whether an error weighs as the square of its distance, for classes that have an order.
    """
    places = np.arange(confusion.shape[-1])
    distances = (places[:, None] - places).astype(np.float64) ** 2
    weights = distances if quadratic else np.minimum(distances, 1)
    observed = (weights * confusion).sum(axis=(-2, -1))
    by_chance = confusion.sum(axis=-1)[..., :, None] * confusion.sum(axis=-2)[..., None, :].astype(np.float64)
    return 1 - _ratio(observed * confusion.sum(axis=(-2, -1)), (weights * by_chance).sum(axis=(-2, -1)))


def _right(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
