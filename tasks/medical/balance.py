"""How many studies there are of each class, and how often each study is drawn."""

from __future__ import annotations

import numpy as np

from vertebra.tasks.loading.labeled_files import UNLABELED
from vertebra.tasks.medical.studies import Studies


def class_counts(studies: Studies) -> np.ndarray:
    """Return how many studies are of each class, or have each finding, (K,) int64."""
    if studies.are_findings:
        return (studies.labels == 1).sum(axis=0)
    known = studies.labels[studies.labels != UNLABELED]
    return np.bincount(known, minlength=len(studies.class_names))


def known_counts(studies: Studies) -> np.ndarray:
    """Return of how many studies it is known whether they are of each class, (K,) int64."""
    if studies.are_findings:
        return (~np.isnan(studies.labels)).sum(axis=0)
    return np.full(len(studies.class_names), (studies.labels != UNLABELED).sum())


def rarest_classes(studies: Studies) -> np.ndarray:
    """Return one class for each study, (N,) int64: the label, or the rarest of its findings, or K where it has none."""
    if not studies.are_findings:
        return studies.labels
    there = studies.labels == 1
    counts = np.where(there, class_counts(studies), len(studies) + 1)
    return np.where(there.any(axis=1), counts.argmin(axis=1), len(studies.class_names))


def study_weights(studies: Studies, strength: float = 1.0) -> list[float]:
    """Return how often each study is drawn beside the others.

    With full strength every class is drawn as often as any other, however many studies it has. Of findings a study
    counts for its rarest, and those without any are a class of their own.

    Args:
        studies: with labels.
        strength: exponent on that ratio, in 0..1; 0 draws all alike.
    """
    labels = rarest_classes(studies)
    counts = np.bincount(labels)
    return ((len(studies) / counts[labels]) ** strength).tolist()
