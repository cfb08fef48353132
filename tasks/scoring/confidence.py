"""Precision, recall and F1 of each class over the confidence threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

THRESHOLDS = np.linspace(0, 1, 101)


class ConfidenceCurves(NamedTuple):
    """Scores in 0..1 if predictions below a threshold are left out.

    Attributes:
        thresholds: (T,) float64 in 0..1, ascending.
        precision: (T, K) float64; NaN where a class has no prediction left.
        recall: (T, K) float64; NaN for a class without truth.
        f1: (T, K) float64; NaN for a class without truth.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def confidence_curves(
    labels: np.ndarray, scores: np.ndarray, correct: np.ndarray, num_truth: np.ndarray
) -> ConfidenceCurves:
    """Return precision, recall and F1 of each class at each of `THRESHOLDS`.

    Args:
        labels: (N,) int in 0..K-1, predicted classes.
        scores: (N,) float in 0..1.
        correct: (N,) bool.
        num_truth: (K,) int, samples or objects of each class.
    """
    kept, right = (np.zeros((len(THRESHOLDS), len(num_truth))) for _ in range(2))
    for k in range(len(num_truth)):
        of_class = labels == k
        for count, some in ((kept, of_class), (right, of_class & correct)):
            ascending = np.sort(scores[some])
            count[:, k] = len(ascending) - np.searchsorted(ascending, THRESHOLDS)
    return curves_of_counts(THRESHOLDS, kept, right, num_truth)


def curves_of_counts(
    thresholds: np.ndarray, kept: np.ndarray, right: np.ndarray, num_truth: np.ndarray
) -> ConfidenceCurves:
    """Return precision, recall and F1 of each class.

    Args:
        thresholds: (T,) float in 0..1, ascending.
        kept: (T, K), predictions of each class from each threshold on.
        right: (T, K), those of them that are correct.
        num_truth: (K,) int, samples, objects or pixels of each class.
    """
    with np.errstate(invalid="ignore"):  # 0 of 0, which is undefined
        precision = right / kept
        recall = np.where(num_truth > 0, right / num_truth, np.nan)
        f1 = np.where(num_truth > 0, 2 * right / (kept + num_truth), np.nan)
    return ConfidenceCurves(thresholds, precision, recall, f1)
