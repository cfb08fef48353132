"""Agreement metrics from confusion matrices: rates, accuracy, F1 and Cohen's kappa.

Confusion matrices are (..., K, K); rows are the truth, columns the decision. Leading axes hold bootstrap resamples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rates(NamedTuple):
    """Sensitivity, specificity and predictive values in 0..1, all of the same shape; NaN where the denominator is 0.

    Attributes:
        sensitivity: true positives over all with the condition.
        specificity: true negatives over all without the condition.
        ppv: positive predictive value, true positives over predicted positives.
        npv: negative predictive value, true negatives over predicted negatives.
    """

    sensitivity: np.ndarray
    specificity: np.ndarray
    ppv: np.ndarray
    npv: np.ndarray


class Pairs:
    """Pairs of truth and decision, prepared for the confusion matrices of many bootstrap resamples.

    Args:
        truth: (N, M) in 0..K-1, or NaN for pairs to ignore.
        decided: (N, M) in 0..K-1.
        num_classes: K.
    """

    def __init__(self, truth: np.ndarray, decided: np.ndarray, num_classes: int) -> None:
        self._shape = (truth.shape[1], num_classes, num_classes)
        # flat cell of each pair, computed once: a resample is then one bincount
        self._rows, columns = np.nonzero(~np.isnan(truth))
        labels, found = truth[self._rows, columns].astype(np.int64), decided[self._rows, columns].astype(np.int64)
        self._cells = np.ravel_multi_index((columns, labels, found), self._shape)

    def confusion(self, times: np.ndarray | None = None) -> np.ndarray:
        """Return the confusion matrix of each column.

        Args:
            times: (N,) how often each row is resampled; None counts every row once.

        Returns:
            (M, K, K) int64.
        """
        weights = None if times is None else times[self._rows]
        counts = np.bincount(self._cells, weights=weights, minlength=int(np.prod(self._shape)))
        return counts.astype(np.int64).reshape(self._shape)


def rates(confusion: np.ndarray) -> Rates:
    """Return the rates of confusion matrices (..., 2, 2), whose rows are the truth and whose columns the decision."""
    correct = _diagonal(confusion)
    specificity, sensitivity = np.moveaxis(_ratio(correct, confusion.sum(axis=-1)), -1, 0)
    npv, ppv = np.moveaxis(_ratio(correct, confusion.sum(axis=-2)), -1, 0)
    return Rates(sensitivity, specificity, ppv, npv)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the accuracy (...) in 0..1; NaN where there are no decisions."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the balanced accuracy (...) in 0..1: mean recall over the classes that occur in the truth."""
    counts = confusion.sum(axis=-1)
    recall = np.divide(_diagonal(confusion), counts, out=np.zeros(counts.shape), where=counts > 0)
    return _ratio(recall.sum(axis=-1), (counts > 0).sum(axis=-1))


def per_class_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the F1 score (..., K) in 0..1 of each class: the harmonic mean of recall and precision.

    NaN for a class that is neither in the truth nor predicted.
    """
    return _ratio(2 * _diagonal(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


def cohen_kappa(confusion: np.ndarray, quadratic: bool = False) -> np.ndarray:
    """Return Cohen's kappa (...) in -1..1: agreement beyond chance; 1 is perfect agreement, 0 is chance.

    A Coefficient of Agreement for Nominal Scales, Cohen 1960, https://doi.org/10.1177/001316446002000104; Weighted
    Kappa, Cohen 1968, https://doi.org/10.1037/h0026256. NaN where the agreement by chance is 1.

    Args:
        confusion: (..., K, K).
        quadratic: weight errors by the squared distance between the classes, for ordered classes.
    """
    classes = np.arange(confusion.shape[-1])
    distances = (classes[:, None] - classes).astype(np.float64) ** 2
    weights = distances if quadratic else np.minimum(distances, 1)
    observed = (weights * confusion).sum(axis=(-2, -1))
    by_chance = confusion.sum(axis=-1)[..., :, None] * confusion.sum(axis=-2)[..., None, :].astype(np.float64)
    return 1 - _ratio(observed * confusion.sum(axis=(-2, -1)), (weights * by_chance).sum(axis=(-2, -1)))


def _diagonal(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
