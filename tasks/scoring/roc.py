"""ROC and precision-recall curves with their areas, for all samples or a bootstrap resample."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """True and false positives at every threshold; a score at or above the threshold is positive.

    A rate whose denominator is 0 is NaN at all thresholds.

    Attributes:
        thresholds: (T,) float64, descending: infinity (no positives), then every distinct score.
        tp: (T,) float64, true positives.
        fp: (T,) float64, false positives.
    """

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray

    @property
    def sensitivity(self) -> np.ndarray:
        """(T,) float64 in 0..1, true positive rate; also called recall."""
        return self.tp / self.tp[-1] if self.tp[-1] > 0 else np.full(len(self.tp), np.nan)

    @property
    def specificity(self) -> np.ndarray:
        """(T,) float64 in 0..1, true negative rate."""
        return 1 - self.fp / self.fp[-1] if self.fp[-1] > 0 else np.full(len(self.fp), np.nan)

    @property
    def precision(self) -> np.ndarray:
        """(T,) float64 in 0..1, true positives over predicted positives; 1 where there are no predicted positives."""
        predicted = self.tp + self.fp
        return np.divide(self.tp, predicted, out=np.ones(len(predicted)), where=predicted > 0)

    @property
    def auroc(self) -> float:
        """Area under the ROC curve: probability that a positive outscores a negative, ties counted as half.

        The Meaning and Use of the Area under a ROC Curve, Hanley and McNeil 1982,
        https://doi.org/10.1148/radiology.143.1.7063747. NaN where one class is missing.
        """
        if not (self.tp[-1] > 0 and self.fp[-1] > 0):
            return math.nan
        area = np.sum(np.diff(self.fp) * (self.tp[1:] + self.tp[:-1])) / 2
        return float(area / (self.tp[-1] * self.fp[-1]))

    @property
    def average_precision(self) -> float:
        """Step-wise area under the precision-recall curve, as in scikit-learn; NaN without positive samples."""
        if not self.tp[-1] > 0:
            return math.nan
        return float(np.sum(np.diff(self.tp) * self.precision[1:]) / self.tp[-1])


class Ranking:
    """Samples sorted by score, once for the curves of any number of resamples.

    Args:
        truth: (N,) of 1, 0, and NaN for unknown samples, which are ignored; or (N, C), whose known entries are pooled
            (micro average).
        scores: of the same shape; higher means more likely positive.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray) -> None:
        known = ~np.isnan(truth)
        order = np.argsort(-scores[known], kind="stable")
        ranked = scores[known][order]
        self._rows = np.nonzero(known)[0][order]
        self._positive = truth[known][order] > 0
        # one threshold per run of equal scores, at its last sample: ties become positive together
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, int)
        self._thresholds = np.append(np.inf, ranked[self._ends])

    def curve(self, times: np.ndarray | None = None) -> Curve:
        """Return the curve of all samples, or of a resample.

        Args:
            times: (N,) multiplicity of each sample (row); None for 1.
        """
        weights = np.ones(len(self._rows)) if times is None else times[self._rows].astype(np.float64)
        predicted = np.cumsum(weights)[self._ends]
        tp = np.append(0, np.cumsum(weights * self._positive)[self._ends])
        return Curve(self._thresholds, tp, np.append(0, predicted) - tp)


def rankings(truth: np.ndarray, scores: np.ndarray) -> list[Ranking]:
    """Return the ranking of each column of (N, C) truth and scores."""
    return [Ranking(*column) for column in zip(truth.T, scores.T, strict=True)]
