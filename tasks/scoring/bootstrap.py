"""Cluster bootstrap: percentile confidence intervals over groups such as patients or recordings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

NUM_DRAWS = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """Confidence interval; both ends are NaN where it is undefined."""

    low: float
    high: float

    def __str__(self) -> str:
        return "undefined" if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"


def bootstrap(
    statistics: Callable[[np.ndarray], Mapping[str, float]],
    groups: np.ndarray,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return the 95 % percentile interval of each statistic over resamples of whole groups with replacement.

    An Introduction to the Bootstrap, Efron and Tibshirani 1993, chapter 13. Samples of one group are correlated, so
    that resampling them independently would give intervals that are too narrow; a resample has as many groups as the
    data and takes all samples of a group or none.

    Args:
        statistics: maps the multiplicity of each sample, (N,) int64, to named values: the same names each time, NaN
            for a value that the resample leaves undefined. Multiplicities allow it to sort the samples only once.
        groups: (N,) str or numbers, the group of each sample.
        num_draws: number of resamples.
        seed: of the resampling; equal seeds and groups give equal resamples.

    Returns:
        An interval for each name. Resamples that leave a value undefined are ignored; where they are the majority, or
        where there are fewer than two groups, the interval is undefined.
    """
    names, members = np.unique(groups, return_inverse=True)
    number = len(names)
    if number < 2:
        return {name: Interval(math.nan, math.nan) for name in statistics(np.ones(len(groups), dtype=np.int64))}
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(num_draws):
        times = np.bincount(rng.integers(number, size=number), minlength=number)
        draws.append(statistics(times[members]))
    return {name: _percentiles(np.array([draw[name] for draw in draws])) for name in draws[0]}


def _percentiles(values: np.ndarray) -> Interval:
    known = values[~np.isnan(values)]
    if 2 * len(known) < len(values):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
