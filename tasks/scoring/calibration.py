"""Calibration of classifiers: reliability diagram and expected calibration error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NUM_BINS = 15


class Reliability(NamedTuple):
    """Reliability diagram: predictions in bins of equal width by confidence.

    Attributes:
        counts: (B,) int64, predictions per bin.
        confidence: (B,) float64 in 0..1, mean score per bin; NaN in an empty bin.
        accuracy: (B,) float64 in 0..1, fraction of correct predictions per bin; NaN in an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error in 0..1: mean |accuracy - confidence| over bins, weighted by their counts."""
        filled = self.counts > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(np.average(gaps, weights=self.counts[filled]))


def reliability(scores: np.ndarray, correct: np.ndarray, num_bins: int = NUM_BINS) -> Reliability:
    """Bin predictions by score; bin b holds scores in (b / B, (b + 1) / B].

    On Calibration of Modern Neural Networks, Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 2.

    Args:
        scores: (N,) in 0..1, the probability of the predicted class.
        correct: (N,) bool, whether the prediction is correct.
        num_bins: number of bins, B.
    """
    scores = scores.astype(np.float64)
    bins = np.clip(np.ceil(scores * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    sums = [np.bincount(bins, weights=values, minlength=num_bins) for values in (scores, correct.astype(np.float64))]
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin
        return Reliability(counts, sums[0] / counts, sums[1] / counts)
