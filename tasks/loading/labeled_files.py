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
