"""The files of one split with one label each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

UNLABELED = -1


@dataclass(frozen=True, eq=False)
class LabeledFiles:
    """Files and their classes.

    Attributes:
        class_names: the K classes.
        names: (N,) str, paths.
        labels: (N,) int64 in 0..K-1, or `UNLABELED`.
        groups: (N,) str, where each comes from (a patient, a recording), or None where that is unknown. Files of one
            group belong into one split.
    """

    class_names: tuple[str, ...]
    names: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, indices: np.ndarray) -> LabeledFiles:
        """Return the files at `indices`."""
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, names=self.names[indices], labels=self.labels[indices], groups=groups)


def stratified_split(labels: np.ndarray, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a part of the samples, as large in every class; the same labels and seed give the same part.

    Args:
        labels: (N,) int64.
        fraction: size of the part, above 0 and below 1. A class of two or more gives one at least and keeps one.
        seed: of the draw.

    Returns:
        Indices of the rest and of the part, both ascending.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"val_fraction is {fraction}; give a part of the files, above 0 and below 1.")
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        taken[members[:count]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)
