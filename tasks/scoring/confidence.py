"""Precision, recall and F1 of each class over the confidence threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

THRESHOLDS = np.linspace(0, 1, 101)


class ConfidenceCurves(NamedTuple):
    """Scores in 0..1 if predictions below a threshold are left out, for each of `THRESHOLDS`.

    Attributes:
        precision: (101, K) float64; NaN where a class has no prediction left.
        recall: (101, K) float64; NaN for a class without truth.
        f1: (101, K) float64; NaN for a class without truth.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def confidence_curves(
    labels: np.ndarray, scores: np.ndarray, correct: np.ndarray, num_truth: np.ndarray
) -> ConfidenceCurves:
    """Return precision, recall and F1 of each class over the confidence threshold.

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
    with np.errstate(invalid="ignore"):  # 0 of 0, which is undefined
        precision = right / kept
        recall = np.where(num_truth > 0, right / num_truth, np.nan)
        f1 = np.where(num_truth > 0, 2 * right / (kept + num_truth), np.nan)
    return ConfidenceCurves(precision, recall, f1)
