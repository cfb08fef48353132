"""How far a score would move with other patients or videos: confidence intervals by drawing from those there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

NUM_DRAWS = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """The ends of a confidence interval, both NaN where it is undefined."""

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
    """Return the 95 % percentile interval of each statistic over draws of whole groups with replacement.

    An Introduction to the Bootstrap, Efron and Tibshirani 1993, chapter 13. Samples of one group resemble each other,
    so that drawing them one by one would give intervals that are too narrow; a draw takes all samples of a group or
    none. It has as many groups as there are.

    Args:
        statistics: given how often each sample is drawn, (N,) int64 with 0 for those that are not, returns values by
            their names, the same names each time, and NaN for one that the draw leaves undefined. Weights instead of
            samples spare it sorting anew.
        groups: (N,) str or numbers, where each sample comes from.
        num_draws: number of draws.
        seed: of the draws; the same seed and groups give the same ones.

    Returns:
        An interval for each name. Draws that leave a value undefined do not count for it; where those are most, and
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
