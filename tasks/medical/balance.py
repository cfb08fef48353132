"""Counts of studies by class."""

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
