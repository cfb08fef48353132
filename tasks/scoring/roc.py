"""ROC and precision-recall curves and the areas below them, of all samples or of a draw."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """What every threshold gives; a sample whose score is the threshold or more is called positive.

    A rate is NaN at all thresholds where there is nothing to divide by.

    Attributes:
        thresholds: (T,) float64, descending: infinity, at which none is called positive, then each score that occurs.
        tp: (T,) float64, true positives at each.
        fp: (T,) float64, false positives at each.
    """

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray

    @property
    def sensitivity(self) -> np.ndarray:
        """(T,) float64 in 0..1, part of the positive samples that is called so; the recall of other fields."""
        return self.tp / self.tp[-1] if self.tp[-1] > 0 else np.full(len(self.tp), np.nan)

    @property
    def specificity(self) -> np.ndarray:
        """(T,) float64 in 0..1, part of the negative samples that is not called positive."""
        return 1 - self.fp / self.fp[-1] if self.fp[-1] > 0 else np.full(len(self.fp), np.nan)

    @property
    def precision(self) -> np.ndarray:
        """(T,) float64 in 0..1, part of the samples called positive that is so; 1 as long as there are none."""
        called = self.tp + self.fp
        return np.divide(self.tp, called, out=np.ones(len(called)), where=called > 0)

    @property
    def auroc(self) -> float:
        """The area below the ROC curve: how probably a positive sample scores above a negative one, a tie half.

        The Meaning and Use of the Area under a ROC Curve, Hanley and McNeil 1982,
        https://doi.org/10.1148/radiology.143.1.7063747. NaN where either side is missing.
        """
        if not (self.tp[-1] > 0 and self.fp[-1] > 0):
            return math.nan
        area = np.sum(np.diff(self.fp) * (self.tp[1:] + self.tp[:-1])) / 2
        return float(area / (self.tp[-1] * self.fp[-1]))

    @property
    def average_precision(self) -> float:
        """The mean of the precision over the positive samples, in steps as scikit-learn's; NaN where there is none."""
        if not self.tp[-1] > 0:
            return math.nan
        return float(np.sum(np.diff(self.tp) * self.precision[1:]) / self.tp[-1])


class Ranking:
    """Samples by their scores, sorted once for the curves of any number of draws.

    Args:
        truth: (N,) of 1, 0, and NaN for samples that nobody knows about and that are left out; or (N, C), whose known
            entries are all taken as samples of one kind, which is the micro average.
        scores: of the same shape, the higher the more probably positive.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray) -> None:
        known = ~np.isnan(truth)
        order = np.argsort(-scores[known], kind="stable")
        ranked = scores[known][order]
        self._rows = np.nonzero(known)[0][order]
        self._positive = truth[known][order] > 0
        # a threshold lies below the last of equal scores: they are called together
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, int)
        self._thresholds = np.append(np.inf, ranked[self._ends])

    def curve(self, times: np.ndarray | None = None) -> Curve:
        """Return the curve of all samples, or of a draw.

        Args:
            times: (N,) how often each sample (each row) is drawn; None for once.
        """
        weights = np.ones(len(self._rows)) if times is None else times[self._rows].astype(np.float64)
        called = np.cumsum(weights)[self._ends]
        tp = np.append(0, np.cumsum(weights * self._positive)[self._ends])
        return Curve(self._thresholds, tp, np.append(0, called) - tp)


def rankings(truth: np.ndarray, scores: np.ndarray) -> list[Ranking]:
    """Return the ranking of each column of (N, C) truth and scores."""
    return [Ranking(*column) for column in zip(truth.T, scores.T, strict=True)]
