"""DeLong's test for the difference of two correlated AUROCs."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from vertebra.tasks.scoring.bootstrap import LEVEL, Interval


class DeLong(NamedTuple):
    """Two AUROCs on the same samples, and the test of their difference.

    Attributes:
        first: AUROC of the first scores; NaN where one class has no samples.
        second: AUROC of the second scores.
        difference: first minus second.
        interval: 95 % confidence interval of the difference.
        z: difference in units of its standard error.
        p: two-sided p-value.
    """

    first: float
    second: float
    difference: float
    interval: Interval
    z: float
    p: float


def delong_test(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> DeLong:
    """Test the difference of two AUROCs on the same samples, assuming that the samples are independent.

    Comparing the Areas under Two or More Correlated ROC Curves, DeLong et al. 1988,
    https://doi.org/10.2307/2531595, computed from ranks as in Fast Implementation of DeLong's Algorithm, Sun and
    Xu 2014, https://doi.org/10.1109/LSP.2014.2337313.

    Args:
        truth: (N,) of 1, 0, and NaN for samples to ignore.
        first: (N,) scores of one classifier; higher means more likely positive.
        second: (N,) scores of the other.

    Returns:
        The test. Interval, z and p are NaN where a class has fewer than two samples, or where a difference has zero
        estimated variance.
    """
    known = ~np.isnan(truth)
    positive = truth[known] > 0
    if positive.all() or not positive.any():
        return DeLong(math.nan, math.nan, math.nan, Interval(math.nan, math.nan), math.nan, math.nan)
    # placement values: for a positive the fraction of negatives below it, for a negative that of positives above it
    parts = [_placements(scores[known], positive) for scores in (first, second)]
    first_auroc, second_auroc = (float(below.mean()) for below, _ in parts)
    variance = math.nan
    if min(positive.sum(), (~positive).sum()) > 1:
        # variance of the paired differences, not from two covariance matrices: equal scores cancel exactly
        variance = sum(float(np.var(a - b, ddof=1)) / len(a) for a, b in zip(*parts, strict=True))
    difference = float((parts[0][0] - parts[1][0]).mean())
    error = math.sqrt(variance)
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
    interval = Interval(difference - half, difference + half)
    if error == 0:
        z, interval = (0.0, interval) if difference == 0 else (math.nan, Interval(math.nan, math.nan))
    else:
        z = difference / error
    return DeLong(first_auroc, second_auroc, difference, interval, z, math.erfc(abs(z) / math.sqrt(2)))


def _placements(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the placement values, (P,) and (M,) float64 in 0..1, of P positive and M negative samples."""
    ranks = _midranks(scores)
    num_positive, num_negative = positive.sum(), (~positive).sum()
    below = (ranks[positive] - _midranks(scores[positive])) / num_negative
    above = 1 - (ranks[~positive] - _midranks(scores[~positive])) / num_positive
    return below, above


def _midranks(values: np.ndarray) -> np.ndarray:
    """Return ranks (N,) in 1..N; ties share their mean rank."""
    _, members, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[members]
