"""Balanced sampling: how often each sample is drawn, by the classes that are in it."""

from __future__ import annotations

import numpy as np


def repeat_factors(classes: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Return how often each sample is drawn beside the others.

    A sample counts for its rarest class: the repeat factors of LVIS, Gupta et al. 2019,
    https://arxiv.org/abs/1908.03195, with the share of all samples in the place of a threshold. With full strength a
    sample of a class that every tenth sample holds is drawn ten times as often as one of a class that all hold; where a
    sample has one class, every class is then drawn as often as any other.

    Args:
        classes: (N,) int64, the class of each sample; or (N, K) bool, which classes are in it.
        strength: exponent on that ratio, in 0..1; 0.5 is LVIS's.

    Returns:
        (N,) float64; 1 for a sample that has none of K classes.
    """
    if classes.ndim == 1:
        return (len(classes) / np.bincount(classes)[classes]) ** strength
    counts = classes.sum(axis=0)
    ratios = (len(classes) / np.maximum(counts, 1)) ** strength
    return np.where(classes, ratios, 1.0).max(axis=1, initial=1.0)


def rarest_classes(classes: np.ndarray) -> np.ndarray:
    """Return one class for each sample, (N,) int64: the rarest of those in it, or K where it has none of K.

    Args:
        classes: (N,) int64, which is returned as it is, or (N, K) bool.
    """
    if classes.ndim == 1:
        return classes
    counts = np.where(classes, classes.sum(axis=0), len(classes) + 1)
    return np.where(classes.any(axis=1), counts.argmin(axis=1), classes.shape[1])
