"""What a network scored on studies: every number for all of them, and its interval over patients."""

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
    """What a network scored on a set of studies.

    Temperature and thresholds are fitted on one split and applied to another:

        fitted = metric.compute()  # of val
        fitted = fitted.at(fitted.fit_temperature())
        thresholds = fitted.choose_thresholds()  # on probabilities that are calibrated
        results = metric.compute().at(fitted.temperature, thresholds)  # of test

    Attributes:
        class_names: the K classes, grades or findings.
        kind: which of these they are.
        studies: the N studies behind the numbers, each once, by `indices`.
        thresholds: (C,) float64, from which probability on each condition is called present.
        temperature: that the logits are divided by.
    """

    class_names: tuple[str, ...]
    kind: Kind
    studies: Evaluated
    thresholds: np.ndarray
    temperature: float = 1.0

    def at(self, temperature: float, thresholds: np.ndarray | None = None) -> MedicalResults:
        """Return the results of the same studies at a temperature and at thresholds, None for 0.5."""
        if thresholds is None:
            thresholds = np.full(len(self.thresholds), DEFAULT_THRESHOLD)
        return replace(self, temperature=temperature, thresholds=thresholds)

    def fit_temperature(self) -> float:
        """Return the temperature that fits these studies best, whatever the present one is."""
        return fit_temperature(torch.from_numpy(self.studies.logits), torch.from_numpy(self.studies.labels))

    def choose_thresholds(self, sensitivity: float | None = None) -> np.ndarray:
        """Return thresholds (C,) chosen on these studies at this temperature, see `choose_thresholds`."""
        return choose_thresholds(self.curves, sensitivity)

    @property
    def patients(self) -> np.ndarray:
        """(N,) str, whose each study is; the intervals are over patients."""
        return self.studies.patients

    @cached_property
    def probs(self) -> np.ndarray:
        """(N, K) float64 in 0..1, at this temperature."""
        exclusive = self.kind != "findings"
        return calibrated_probs(torch.from_numpy(self.studies.logits), exclusive, self.temperature).numpy()

    @property
    def decisions(self) -> np.ndarray:
        """(N,) int64, the class decided for; or (N, K) int64, 1 for each finding called present."""
        return self._measures.decisions

    @property
    def conditions(self) -> Conditions:
        """Truth and probabilities (N, C) of what has an AUROC: the positive class of two, each of more classes."""
        return self._measures.conditions

    @property
    def condition_names(self) -> tuple[str, ...]:
        """The C conditions."""
        return self._measures.names

    @property
    def support(self) -> np.ndarray:
        """(C, 2) int64, studies without each condition and with it."""
        return np.stack([(self.conditions.truth == value).sum(axis=0) for value in (0, 1)], axis=1)

    @cached_property
    def curves(self) -> list[Curve]:
        """ROC and precision-recall of the C conditions."""
        return [ranking.curve() for ranking in self._measures.rankings]

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) int64 counts of exclusive classes, or (K, 2, 2) of findings; rows are the truth."""
        matrices = self._measures.decided.confusion()
        return matrices if self.kind == "findings" else matrices[0]

    @property
    def reliability(self) -> Reliability:
        """Fraction of correct claims by their probability; see `Claims`."""
        return reliability(self._measures.claims.scores, self._measures.claims.correct)

    def errors(self, condition: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of `studies`: false positives of a condition and its false negatives, the worst first."""
        truth, probs = self.conditions.truth[:, condition], self.conditions.probs[:, condition]
        order = np.argsort(-probs, kind="stable")
        called = probs[order] >= self.thresholds[condition]
        return order[called & (truth[order] == 0)], order[~called & (truth[order] == 1)][::-1]

    def hits(self, condition: int) -> np.ndarray:
        """Return rows of `studies`: those with a condition that are called so, the surest first."""
        truth, probs = self.conditions.truth[:, condition], self.conditions.probs[:, condition]
        order = np.argsort(-probs, kind="stable")
        return order[(probs[order] >= self.thresholds[condition]) & (truth[order] == 1)]

    @cached_property
    def measured(self) -> dict[str, float]:
        """Every number by its name, as `Measures` returns them: `auroc`, `auroc/NAME` for each condition, ..."""
        return self._measures(np.ones(len(self.patients), dtype=np.int64))

    def intervals(self) -> dict[str, Interval]:
        """Return the 95 % interval over patients of each number of `measured`; takes seconds, and only once.

        That of `ece` lies high, and may leave out the number itself: studies that are drawn twice make the bins
        rougher, and every roughness adds to an error that is never below 0.
        """
        return self._intervals

    def scores(self) -> dict[str, float]:
        """Return what is logged."""
        return {name: self.measured[name] for name in _LOGGED}

    def headline(self) -> dict[str, float]:
        """Return the main numbers."""
        kappa = {"quadratic kappa": self.measured["kappa"]} if self.kind == "grades" else {}
        return kappa | {title: self.measured[name] for title, name in _HEADLINE.items()}

    @cached_property
    def _measures(self) -> Measures:
        return Measures(self.class_names, self.kind, self.studies, self.probs, self.thresholds)

    @cached_property
    def _intervals(self) -> dict[str, Interval]:
        return bootstrap(self._measures, self.patients)
