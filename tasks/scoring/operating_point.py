"""The threshold at which a probability becomes a decision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vertebra.tasks.scoring.conditions import condition_classes
from vertebra.tasks.scoring.roc import Curve

DEFAULT_THRESHOLD = 0.5


def choose_thresholds(curves: Sequence[Curve], sensitivity: float | None = None) -> np.ndarray:
    """Choose a threshold for each condition, on studies that are not those it will be measured on.

    Args:
        curves: of the C conditions, over probabilities.
        sensitivity: None chooses by Youden's index; otherwise the highest threshold whose sensitivity is that or more.

    Returns:
        (C,) float64 in 0..1; a study whose probability is the threshold or more is called positive. 0.5 for a
        condition that no curve can tell a threshold for, since all studies have it or none.

    Raises:
        ValueError: the sensitivity is not above 0 and up to 1.
    """
    if sensitivity is not None and not 0 < sensitivity <= 1:
        raise ValueError(
            f"sensitivity is {sensitivity}; give the part of the positive studies to find, above 0 and up to 1, or "
            "leave it out for Youden's index."
        )
    chosen = []
    for curve in curves:
        if not (curve.tp[-1] > 0 and curve.fp[-1] > 0):
            chosen.append(DEFAULT_THRESHOLD)
        elif sensitivity is None:
            chosen.append(_youden(curve))
        else:
            # in this form 11 of 20 are 0.55, which 0.55 * 20 misses by a rounding
            chosen.append(float(curve.thresholds[np.argmax(curve.sensitivity >= sensitivity)]))
    return np.array(chosen, dtype=np.float64)


def decide(probs: np.ndarray, thresholds: np.ndarray, exclusive: bool) -> np.ndarray:
    """Turn probabilities into decisions.

    Args:
        probs: (N, K) in 0..1.
        thresholds: (C,), of the one condition of two exclusive classes, or of each finding; of three or more exclusive
            classes the likeliest is decided for, whatever the thresholds.
        exclusive: whether a study has one class, or any number of findings.

    Returns:
        (N,) int64, the class; or (N, K) int64, 1 for each finding that is there.
    """
    num_classes = probs.shape[1]
    if exclusive and num_classes > 2:
        return probs.argmax(axis=1)
    called = (probs[:, condition_classes(num_classes, exclusive)] >= thresholds).astype(np.int64)
    return called[:, 0] if exclusive else called


def _youden(curve: Curve) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1; of equals the one that finds more.

    Index for Rating Diagnostic Tests, Youden 1950, https://pubmed.ncbi.nlm.nih.gov/15405679.
    """
    index = curve.tp * curve.fp[-1] - curve.fp * curve.tp[-1]  # whole numbers, so that equals are equal
    return float(curve.thresholds[np.flatnonzero(index == index.max())[-1]])
