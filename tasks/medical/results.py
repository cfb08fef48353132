"""Results of a medical classifier: metrics with confidence intervals, curves, calibration, operating point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from vertebra.tasks.medical.measures import Evaluated, Measures
from vertebra.tasks.medical.studies import Kind
from vertebra.tasks.medical.temperature import calibrated_probs, fit_temperature
from vertebra.tasks.scoring.bootstrap import Interval, bootstrap
from vertebra.tasks.scoring.calibration import Reliability, reliability
from vertebra.tasks.scoring.conditions import Conditions
from vertebra.tasks.scoring.operating_point import DEFAULT_THRESHOLD, choose_thresholds
from vertebra.tasks.scoring.roc import Curve

_LOGGED = (
    "loss", "auroc", "average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1", "kappa",
    "brier", "ece",
)  # fmt: skip
_HEADLINE = {
    "AUROC": "auroc",
    "average precision": "average_precision",
    "balanced accuracy": "balanced_accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "calibration error": "ece",
}


@dataclass(frozen=True, eq=False)
class MedicalResults:
    """Results of a medical classifier on a set of studies, at a temperature and at thresholds.

    Temperature and thresholds are fitted on one split and applied to another:

        fitted = metric.compute()  # of val
        fitted = fitted.at(fitted.fit_temperature())
        thresholds = fitted.choose_thresholds()  # on calibrated probabilities
        results = metric.compute().at(fitted.temperature, thresholds)  # of test

    Attributes:
        class_names: the K classes, grades or findings.
        kind: kind of the classes.
        studies: the N studies, without duplicates, sorted by index.
        thresholds: (C,) float64, decision threshold of each condition.
        temperature: divisor of the logits.
    """

    class_names: tuple[str, ...]
    kind: Kind
    studies: Evaluated
    thresholds: np.ndarray
    temperature: float = 1.0

    def at(self, temperature: float, thresholds: np.ndarray | None = None) -> MedicalResults:
        """Return the results of the same studies at another temperature and other thresholds; None for 0.5."""
        if thresholds is None:
            thresholds = np.full(len(self.thresholds), DEFAULT_THRESHOLD)
        # a new object, since the cached properties depend on both
        return replace(self, temperature=temperature, thresholds=thresholds)

    def fit_temperature(self) -> float:
        """Return the temperature fitted to the raw logits of these studies; the current one has no effect."""
        return fit_temperature(torch.from_numpy(self.studies.logits), torch.from_numpy(self.studies.labels))

    def choose_thresholds(self, sensitivity: float | None = None) -> np.ndarray:
        """Return thresholds (C,) for these studies at this temperature, see `operating_point.choose_thresholds`."""
        return choose_thresholds(self.curves, sensitivity)

    @property
    def patients(self) -> np.ndarray:
        """(N,) str, patient ids: the groups that the bootstrap resamples."""
        return self.studies.patients

    @cached_property
    def probs(self) -> np.ndarray:
        """(N, K) float64 in 0..1, probabilities at this temperature."""
        exclusive = self.kind != "findings"
        return calibrated_probs(torch.from_numpy(self.studies.logits), exclusive, self.temperature).numpy()

    @property
    def decisions(self) -> np.ndarray:
        """(N,) int64, predicted class; or (N, K) int64, 1 for each finding predicted present."""
        return self._measures.decisions

    @property
    def conditions(self) -> Conditions:
        """Truth and probabilities (N, C) of binary conditions: the positive of two classes, otherwise each class."""
        return self._measures.conditions

    @property
    def condition_names(self) -> tuple[str, ...]:
        """Names of the C conditions."""
        return self._measures.names

    @property
    def support(self) -> np.ndarray:
        """(C, 2) int64, number of negative and positive studies of each condition."""
        return np.stack([(self.conditions.truth == value).sum(axis=0) for value in (0, 1)], axis=1)

    @cached_property
    def curves(self) -> list[Curve]:
        """ROC and precision-recall curves of the C conditions."""
        return [ranking.curve() for ranking in self._measures.rankings]

    @property
    def confusion(self) -> np.ndarray:
        """Confusion matrix (K, K) int64 of exclusive classes, or (K, 2, 2) of findings; rows are the truth."""
        matrices = self._measures.decided.confusion()
        return matrices if self.kind == "findings" else matrices[0]

    @property
    def reliability(self) -> Reliability:
        """Reliability diagram and expected calibration error, of `measures.ScoredPredictions`."""
        return reliability(self._measures.predictions.scores, self._measures.predictions.correct)

    def errors(self, condition: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of `studies`: false positives and false negatives of a condition, worst first."""
        truth, probs = self.conditions.truth[:, condition], self.conditions.probs[:, condition]
        order = np.argsort(-probs, kind="stable")
        is_positive = probs[order] >= self.thresholds[condition]
        # unknown labels are NaN, and in neither
        return order[is_positive & (truth[order] == 0)], order[~is_positive & (truth[order] == 1)][::-1]

    def hits(self, condition: int) -> np.ndarray:
        """Return rows of `studies`: true positives of a condition, most confident first."""
        truth, probs = self.conditions.truth[:, condition], self.conditions.probs[:, condition]
        order = np.argsort(-probs, kind="stable")
        return order[(probs[order] >= self.thresholds[condition]) & (truth[order] == 1)]

    @cached_property
    def measured(self) -> dict[str, float]:
        """All metrics by name, see `Measures`: `auroc`, `auroc/NAME` for each condition, ..."""
        return self._measures(np.ones(len(self.patients), dtype=np.int64))

    def intervals(self) -> dict[str, Interval]:
        """Return the 95 % bootstrap interval over patients of each metric of `measured`; takes seconds, then is cached.

        The interval of `ece` is biased upward and may exclude the estimate: resampled duplicates add noise to the bins,
        and noise increases an absolute error.
        """
        return self._intervals

    def scores(self) -> dict[str, float]:
        """Return the metrics for the logger."""
        return {name: self.measured[name] for name in _LOGGED}

    def label_counts(self) -> np.ndarray:
        """Return the number of studies of each class or with each finding, (K,) int64."""
        labels = self.studies.labels
        if labels.ndim == 2:
            return (labels == 1).sum(axis=0)
        return np.bincount(labels[labels >= 0], minlength=len(self.class_names))

    def headline(self) -> dict[str, float]:
        """Return the main metrics, for the head of the report."""
        # first for grades: it weights errors by their distance, and is the usual metric of grading
        kappa = {"quadratic kappa": self.measured["kappa"]} if self.kind == "grades" else {}
        return kappa | {title: self.measured[name] for title, name in _HEADLINE.items()}

    @cached_property
    def _measures(self) -> Measures:
        return Measures(self.class_names, self.kind, self.studies, self.probs, self.thresholds)

    @cached_property
    def _intervals(self) -> dict[str, Interval]:
        return bootstrap(self._measures, self.patients)
