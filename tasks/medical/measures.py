"""Metrics of evaluated studies, for all studies or a bootstrap resample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from vertebra.tasks.medical.studies import Kind
from vertebra.tasks.medical.temperature import negative_log_likelihood
from vertebra.tasks.scoring.agreement import Pairs, accuracy, balanced_accuracy, cohen_kappa, per_class_f1, rates
from vertebra.tasks.scoring.calibration import reliability
from vertebra.tasks.scoring.conditions import conditions_of
from vertebra.tasks.scoring.operating_point import decide
from vertebra.tasks.scoring.roc import Ranking, rankings


class Evaluated(NamedTuple):
    """Studies with their labels and raw logits.

    Attributes:
        indices: (N,) int64, index of each study in its split.
        names: (N,) str, study names.
        patients: (N,) str, patient ids.
        labels: (N,) int64 in 0..K-1, or (N, K) of 0, 1 and NaN (unknown) for findings.
        logits: (N, K) float64, before temperature scaling.
    """

    indices: np.ndarray
    names: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


class ScoredPredictions(NamedTuple):
    """Predicted probabilities with their outcomes, for calibration.

    For three or more exclusive classes, the top prediction of each study (confidence calibration); otherwise the
    presence of every condition with a known label.

    Attributes:
        scores: (R,) float64 in 0..1, predicted probability.
        correct: (R,) bool, outcome: top prediction correct, or condition present.
        rows: (R,) int64, study in 0..N-1.
    """

    scores: np.ndarray
    correct: np.ndarray
    rows: np.ndarray


class Measures:
    """All metrics of a set of studies, prepared once (sorted, thresholded) for any number of bootstrap resamples.

    Args:
        class_names: the K classes, grades or findings.
        kind: kind of the classes.
        studies: the N studies.
        probs: (N, K) float64 in 0..1, calibrated probabilities.
        thresholds: (C,) float64, decision threshold of each condition.

    Attributes:
        conditions: truth and probabilities of the C binary conditions.
        names: names of the C conditions.
        decisions: (N,) int64, predicted class; or (N, K) int64, 1 for each finding predicted present.
        rankings: rankings of the studies by the probability of each condition.
        decided: pairs of true and predicted class; of findings, of true and predicted presence.
        predictions: probabilities and outcomes for calibration.
    """

    def __init__(
        self, class_names: Sequence[str], kind: Kind, studies: Evaluated, probs: np.ndarray, thresholds: np.ndarray
    ) -> None:
        self.kind = kind
        self.exclusive = kind != "findings"
        self.conditions = conditions_of(studies.labels, probs)
        self.names = tuple(class_names[k] for k in self.conditions.classes)
        truth, scores = self.conditions.truth, self.conditions.probs
        # sorted once: the curves of a resample are then cumulative sums
        self.rankings = rankings(truth, scores)
        self._pooled = Ranking(truth, scores)
        self._binary = Pairs(truth, scores >= thresholds, 2)
        self.decisions = decide(probs, thresholds, self.exclusive)
        # exclusive classes are decided jointly: an argmax, not C independent thresholds
        self.decided = self._binary
        if self.exclusive:
            self.decided = Pairs(studies.labels[:, None], self.decisions[:, None], len(class_names))
        known = ~np.isnan(truth)  # findings may be unlabeled
        self.predictions = ScoredPredictions(scores[known], truth[known] > 0, np.nonzero(known)[0])
        self._is_multiclass = self.exclusive and len(class_names) > 2
        if self._is_multiclass:
            is_correct = probs.argmax(axis=1) == studies.labels
            self.predictions = ScoredPredictions(probs.max(axis=1), is_correct, np.arange(len(probs)))
        self._squared_errors = (scores - truth) ** 2
        # of the raw logits: the loss that training minimizes, unaffected by temperature
        losses = negative_log_likelihood(torch.from_numpy(studies.logits), torch.from_numpy(studies.labels)).numpy()
        self._losses = losses.reshape(len(probs), -1 if len(probs) else 1)

    def __call__(self, times: np.ndarray) -> dict[str, float]:
        """Return all metrics by name, NaN if undefined.

        Per condition: `auroc/NAME`, and likewise `average_precision`, `sensitivity`, `specificity`, `ppv`, `npv`,
        `balanced_accuracy`, `f1` and `brier`. Without a name they are macro averages over the conditions where they are
        defined, with two exceptions for exclusive classes: `balanced_accuracy` and `f1` are of the K-class decision,
        and `brier` is the sum over three or more classes, as in Verification of Forecasts Expressed in Terms of
        Probability, Brier 1950, https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2. Overall metrics:
        `loss` (in nats), `micro_auroc`, `micro_average_precision`, `accuracy`, `kappa` (quadratic for grades) and
        `ece`; of findings, accuracy and kappa are means over the findings.

        Args:
            times: (N,) int64, how often each study is resampled; all ones for the data set itself.
        """
        curves = [ranking.curve(times) for ranking in self.rankings]
        confusion = self.decided.confusion(times)  # (1, K, K) or (K, 2, 2)
        f1 = per_class_f1(confusion)
        f1 = f1[0] if self.exclusive else f1[:, 1]  # (K,)
        binary = rates(self._binary.confusion(times))
        per_condition = {
            "auroc": np.array([curve.auroc for curve in curves]),
            "average_precision": np.array([curve.average_precision for curve in curves]),
            **binary._asdict(),
            "balanced_accuracy": (binary.sensitivity + binary.specificity) / 2,
            "f1": f1[self.conditions.classes],
            "brier": _column_means(self._squared_errors, times),
        }
        pooled = self._pooled.curve(times)
        # binning needs the scores themselves, so that resampled studies are repeated instead of weighted
        resampled = np.repeat(np.arange(len(self.predictions.rows)), times[self.predictions.rows])
        overall = {
            **{name: mean_of_defined(values) for name, values in per_condition.items()},
            "loss": _mean(self._losses, times),
            "micro_auroc": pooled.auroc,
            "micro_average_precision": pooled.average_precision,
            "accuracy": mean_of_defined(accuracy(confusion)),
            "kappa": mean_of_defined(cohen_kappa(confusion, quadratic=self.kind == "grades")),
            "ece": reliability(self.predictions.scores[resampled], self.predictions.correct[resampled]).error,
        }
        if self.exclusive:
            overall |= {"balanced_accuracy": float(balanced_accuracy(confusion)[0]), "f1": mean_of_defined(f1)}
        if self._is_multiclass:
            overall["brier"] = float(per_condition["brier"].sum())
        named = {
            f"{name}/{condition}": float(value)
            for name, values in per_condition.items()
            for condition, value in zip(self.names, values, strict=True)
        }
        return overall | named


def mean_of_defined(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN, without numpy's warning, if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _column_means(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the column means (C,) of values (N, C) over a resample (N,), ignoring NaN."""
    known = ~np.isnan(values)
    counts = times @ known
    return np.divide(times @ np.nan_to_num(values), counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _mean(values: np.ndarray, times: np.ndarray) -> float:
    """Return the mean of values (N, L) over a resample (N,), ignoring NaN."""
    known = ~np.isnan(values)
    count = (times @ known).sum()
    return float((times @ np.nan_to_num(values)).sum() / count) if count else float("nan")
