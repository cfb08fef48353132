"""Operating point of a classifier: thresholds that turn probabilities into decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vertebra.tasks.scoring.conditions import condition_classes
from vertebra.tasks.scoring.roc import Curve

DEFAULT_THRESHOLD = 0.5


def choose_thresholds(curves: Sequence[Curve], sensitivity: float | None = None) -> np.ndarray:
    """Choose a threshold for each condition, on studies other than those of the final evaluation.

    Args:
        curves: of the C conditions, over probabilities.
        sensitivity: target; the highest threshold that reaches it is chosen. None maximizes Youden's index.

    Returns:
        (C,) float64 in 0..1; a probability at or above the threshold is positive. 0.5 for a condition that all
        studies have or none, since its curve is undefined.

    Raises:
        ValueError: the sensitivity is not in (0, 1].
    """
    if sensitivity is not None and not 0 < sensitivity <= 1:
        raise ValueError(
            f"sensitivity is {sensitivity}; expected the fraction of positive studies to detect, above 0 and up to 1. "
            "Omit it for Youden's index."
        )
    chosen = []
    for curve in curves:
        if not (curve.tp[-1] > 0 and curve.fp[-1] > 0):
            chosen.append(DEFAULT_THRESHOLD)
        elif sensitivity is None:
            chosen.append(_youden(curve))
        else:
            # compare rates, not counts: 11 of 20 is exactly 0.55, while 0.55 * 20 rounds to above 11
            chosen.append(float(curve.thresholds[np.argmax(curve.sensitivity >= sensitivity)]))
    return np.array(chosen, dtype=np.float64)


def decide(probs: np.ndarray, thresholds: np.ndarray, exclusive: bool) -> np.ndarray:
    """Apply thresholds to probabilities.

    Args:
        probs: (N, K) in 0..1.
        thresholds: (C,), for the one condition of two exclusive classes, or for each finding; with three or more
            exclusive classes the most probable one is chosen and thresholds are not used.
        exclusive: whether a study has exactly one class, or any number of findings.

    Returns:
        (N,) int64, the class; or (N, K) int64, 1 for each finding that is present.
    """
    num_classes = probs.shape[1]
    if exclusive and num_classes > 2:
        return probs.argmax(axis=1)
    positive = (probs[:, condition_classes(num_classes, exclusive)] >= thresholds).astype(np.int64)
    return positive[:, 0] if exclusive else positive


def _youden(curve: Curve) -> float:
    """Return the threshold that maximizes sensitivity + specificity - 1; ties go to the higher sensitivity.

    Index for Rating Diagnostic Tests, Youden 1950, https://pubmed.ncbi.nlm.nih.gov/15405679.
    """
    index = curve.tp * curve.fp[-1] - curve.fp * curve.tp[-1]  # integers, so that ties are exact
    return float(curve.thresholds[np.flatnonzero(index == index.max())[-1]])
