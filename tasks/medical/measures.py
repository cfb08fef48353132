"""Every number on evaluated studies, of all of them or of a draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from vertebra.tasks.medical.studies import Kind
from vertebra.tasks.medical.temperature import log_losses
from vertebra.tasks.scoring.agreement import Pairs, accuracy, balanced_accuracy, cohen_kappa, per_class_f1, rates
from vertebra.tasks.scoring.calibration import reliability
from vertebra.tasks.scoring.conditions import conditions_of
from vertebra.tasks.scoring.operating_point import decide
from vertebra.tasks.scoring.roc import Ranking, rankings


class Evaluated(NamedTuple):
    """What is known about studies once a network has seen them.

    Attributes:
        indices: (N,) int64, place of each study in its split.
        names: (N,) str, what each is called.
        patients: (N,) str, whose each is.
        labels: (N,) int64 in 0..K-1, or (N, K) of 0, 1 and NaN (unknown) for findings.
        logits: (N, K) float64, as the network gives them.
    """

    indices: np.ndarray
    names: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


class Claims(NamedTuple):
    """Claims that probabilities make, for calibration.

    Of three or more exclusive classes: that the most probable is the true one. Otherwise of every condition whose
    presence is known: that it is present.

    Attributes:
        scores: (R,) float64 in 0..1, the predicted probability of each.
        correct: (R,) bool, whether it is true.
        rows: (R,) int64, the study in 0..N-1.
    """

    scores: np.ndarray
    correct: np.ndarray
    rows: np.ndarray


class Measures:
    """Studies that are sorted and decided once, and measured in any number of draws.

    Args:
        class_names: the K classes, grades or findings.
        kind: which of these they are.
        studies: the N studies.
        probs: (N, K) float64 in 0..1, of their logits.
        thresholds: (C,) float64, from which probability on each condition is called present.

    Attributes:
        conditions: truth and probabilities of what has an AUROC.
        names: the C conditions.
        decisions: (N,) int64, the class decided for; or (N, K) int64, 1 for each finding called present.
        rankings: of the C conditions.
        decided: pairs of true and decided classes; of findings, of presence and call.
        claims: of the probabilities.
    """

    def __init__(
        self, class_names: Sequence[str], kind: Kind, studies: Evaluated, probs: np.ndarray, thresholds: np.ndarray
    ) -> None:
        self.kind = kind
        self.exclusive = kind != "findings"
        self.conditions = conditions_of(studies.labels, probs)
        self.names = tuple(class_names[k] for k in self.conditions.classes)
        truth, scores = self.conditions.truth, self.conditions.probs
        self.rankings = rankings(truth, scores)
        self._pooled = Ranking(truth, scores)
        self._called = Pairs(truth, scores >= thresholds, 2)
        self.decisions = decide(probs, thresholds, self.exclusive)
        self.decided = self._called
        if self.exclusive:
            self.decided = Pairs(studies.labels[:, None], self.decisions[:, None], len(class_names))
        known = ~np.isnan(truth)
        self.claims = Claims(scores[known], truth[known] > 0, np.nonzero(known)[0])
        self._against_rest = self.exclusive and len(class_names) > 2
        if self._against_rest:
            right = probs.argmax(axis=1) == studies.labels
            self.claims = Claims(probs.max(axis=1), right, np.arange(len(probs)))
        self._errors = (scores - truth) ** 2
        losses = log_losses(torch.from_numpy(studies.logits), torch.from_numpy(studies.labels)).numpy()
        self._losses = losses.reshape(len(probs), -1 if len(probs) else 1)

    def __call__(self, times: np.ndarray) -> dict[str, float]:
        """Return every number by its name, NaN where it is undefined.

        `auroc`, `average_precision`, `sensitivity`, `specificity`, `ppv`, `npv`, `balanced_accuracy`, `f1` and `brier`
        of each condition are called `auroc/NAME`, and so on. Without a name they are means over the conditions that
        have them; but of exclusive classes `balanced_accuracy` and `f1` are those of the decisions for one of all K
        classes, and `brier` is the sum over three or more, as it was defined (Brier 1950). The others are `loss` (of
        the raw logits, in nats), `micro_auroc`, `micro_average_precision`, `accuracy`, `kappa` (quadratic for grades)
        and `ece`; of findings, accuracy and kappa are means over them.

        Args:
            times: (N,) int64, how often each study is drawn.
        """
        curves = [ranking.curve(times) for ranking in self.rankings]
        confusion = self.decided.confusion(times)  # (1, K, K) or (K, 2, 2)
        f1 = per_class_f1(confusion)
        f1 = f1[0] if self.exclusive else f1[:, 1]  # (K,)
        at = rates(self._called.confusion(times))
        each = {
            "auroc": np.array([curve.auroc for curve in curves]),
            "average_precision": np.array([curve.average_precision for curve in curves]),
            **at._asdict(),
            "balanced_accuracy": (at.sensitivity + at.specificity) / 2,
            "f1": f1[self.conditions.classes],
            "brier": _column_means(self._errors, times),
        }
        pooled = self._pooled.curve(times)
        drawn = np.repeat(np.arange(len(self.claims.rows)), times[self.claims.rows])
        overall = {
            **{name: mean_of_defined(values) for name, values in each.items()},
            "loss": _mean(self._losses, times),
            "micro_auroc": pooled.auroc,
            "micro_average_precision": pooled.average_precision,
            "accuracy": mean_of_defined(accuracy(confusion)),
            "kappa": mean_of_defined(cohen_kappa(confusion, quadratic=self.kind == "grades")),
            "ece": reliability(self.claims.scores[drawn], self.claims.correct[drawn]).error,
        }
        if self.exclusive:
            overall |= {"balanced_accuracy": float(balanced_accuracy(confusion)[0]), "f1": mean_of_defined(f1)}
        if self._against_rest:
            overall["brier"] = float(each["brier"].sum())
        of_conditions = {
            f"{name}/{condition}": float(value)
            for name, values in each.items()
            for condition, value in zip(self.names, values, strict=True)
        }
        return overall | of_conditions


def mean_of_defined(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN, NaN where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _column_means(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the means (C,) of the known values (N, C) of a draw (N,)."""
    known = ~np.isnan(values)
    counts = times @ known
    return np.divide(times @ np.nan_to_num(values), counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _mean(values: np.ndarray, times: np.ndarray) -> float:
    """Return the mean of all known values (N, L) of a draw (N,)."""
    known = ~np.isnan(values)
    count = (times @ known).sum()
    return float((times @ np.nan_to_num(values)).sum() / count) if count else float("nan")
