"""Whether one classifier ranks the same samples better than another, or chance would explain it."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from vertebra.tasks.scoring.bootstrap import LEVEL, Interval


class DeLong(NamedTuple):
    """Two AUROCs over the same samples.

    Attributes:
        first: AUROC of the first scores, NaN where a side has no samples.
        second: AUROC of the second scores.
        difference: the first less the second.
        interval: of the difference, 95 %.
        z: the difference in standard errors.
        p: the probability of a difference as large in either direction if there is none in truth.
    """

    first: float
    second: float
    difference: float
    interval: Interval
    z: float
    p: float


def delong_test(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> DeLong:
    """Test the difference of two AUROCs that are measured on the same samples, which are taken as independent.

    Comparing the Areas under Two or More Correlated ROC Curves, DeLong et al. 1988,
    https://doi.org/10.2307/2531595, by the ranks of Fast Implementation of DeLong's Algorithm, Sun and Xu 2014,
    https://doi.org/10.1109/LSP.2014.2337313.

    Args:
        truth: (N,) of 1, 0, and NaN for samples that are left out.
        first: (N,) scores of one classifier, the higher the more probably positive.
        second: (N,) scores of the other.

    Returns:
        The test. Interval, z and p are NaN where a side has fewer than two samples, and where a difference has no
        variance to be measured by.
    """
    known = ~np.isnan(truth)
    positive = truth[known] > 0
    if positive.all() or not positive.any():
        return DeLong(math.nan, math.nan, math.nan, Interval(math.nan, math.nan), math.nan, math.nan)
    # of each positive sample the part of the negatives below it, of each negative the part of the positives above
    parts = [_placements(scores[known], positive) for scores in (first, second)]
    one, other = (float(below.mean()) for below, _ in parts)
    variance = math.nan
    if min(positive.sum(), (~positive).sum()) > 1:
        # the variance of the differences, and not of each AUROC: what is equal cancels exactly
        variance = sum(float(np.var(a - b, ddof=1)) / len(a) for a, b in zip(*parts, strict=True))
    difference = float((parts[0][0] - parts[1][0]).mean())
    error = math.sqrt(variance)
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
    interval = Interval(difference - half, difference + half)
    if error == 0:
        z, interval = (0.0, interval) if difference == 0 else (math.nan, Interval(math.nan, math.nan))
    else:
        z = difference / error
    return DeLong(one, other, difference, interval, z, math.erfc(abs(z) / math.sqrt(2)))


def _placements(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (P,) and (M,) float64 in 0..1 for the P positive and the M negative samples."""
    ranks = _midranks(scores)
    num_positive, num_negative = positive.sum(), (~positive).sum()
    below = (ranks[positive] - _midranks(scores[positive])) / num_negative
    above = 1 - (ranks[~positive] - _midranks(scores[~positive])) / num_positive
    return below, above


def _midranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks (N,) from 1 to N of values; equal ones share the mean of theirs."""
    _, members, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[members]
