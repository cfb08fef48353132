"""Binary conditions of a classification problem, one for each ROC curve."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Conditions(NamedTuple):
    """Labels and probabilities as binary conditions.

    Of two exclusive classes, label 1 is the positive class. Three or more classes (or grades) are taken one versus the
    rest. Findings are binary already.

    Attributes:
        classes: (C,) int64, the class of each condition, in 0..K-1.
        truth: (N, C) float64, 1 where the condition is present, 0 where it is absent, NaN where it is unknown.
        probs: (N, C) float64 in 0..1.
    """

    classes: np.ndarray
    truth: np.ndarray
    probs: np.ndarray


def conditions_of(labels: np.ndarray, probs: np.ndarray) -> Conditions:
    """Return the conditions of labeled studies.

    Args:
        labels: (N,) int64 in 0..K-1 for exclusive classes or grades, (N, K) of 0, 1 and NaN for findings.
        probs: (N, K) in 0..1.
    """
    num_classes = probs.shape[1]
    classes = condition_classes(num_classes, exclusive=labels.ndim == 1)
    truth = labels[:, None] == classes if labels.ndim == 1 else labels
    return Conditions(classes, truth.astype(np.float64), probs[:, classes].astype(np.float64))


def condition_classes(num_classes: int, exclusive: bool) -> np.ndarray:
    """Return the classes (C,) int64 that are conditions: class 1 of two exclusive classes, otherwise all K."""
    return np.array([1]) if exclusive and num_classes == 2 else np.arange(num_classes)
