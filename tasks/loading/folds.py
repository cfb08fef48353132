"""Parts and folds of a training split, in which all samples of a group (a patient, a recording) are on one side."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

_MOST_PARTS = 20  # folds that a part of whole groups is put together from


@dataclass(frozen=True)
class Division:
    """How a training split is divided into what is trained on and what is measured.

    Args:
        val_fraction: above 0, this part is held out.
        folds: above 1, the split is divided into so many folds, of which `fold` is held out.
        fold: from 0 to below `folds`.

    Raises:
        ValueError: there is one fold or a negative number of them, `fold` is none of them, both a fraction and folds
            are given, or the fraction is not from 0 to below 1.
    """

    val_fraction: float = 0.0
    folds: int = 0
    fold: int = 0

    def __post_init__(self) -> None:
        if self.folds and not (self.folds > 1 and 0 <= self.fold < self.folds):
            raise ValueError(
                f"fold is {self.fold} of {self.folds}; give two or more folds, and a fold from 0 to below that."
            )
        if self.folds and self.val_fraction:
            raise ValueError(f"val_fraction is {self.val_fraction} and folds {self.folds}; give one of them.")
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"val_fraction is {self.val_fraction}; give a part of the samples, above 0 and below 1.")

    @property
    def holds_out(self) -> bool:
        """Whether anything is held out."""
        return bool(self.folds or self.val_fraction)

    def held_out(self, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """Return which samples are held out, always the same.

        Args:
            labels: (N,) int64 from 0 on; every side has about its share of each.
            groups: (N,) str, where each sample comes from; None makes each a group of its own.

        Returns:
            (N,) bool.

        Raises:
            ValueError: there are fewer groups than folds, or a single one.
        """
        if self.folds:
            own = np.arange(len(labels)) if groups is None else groups
            return stratified_group_kfold(labels, own, self.folds) == self.fold
        if groups is None:
            held = np.zeros(len(labels), dtype=bool)
            held[stratified_split(labels, self.val_fraction)[1]] = True
            return held
        return grouped_part(labels, groups, self.val_fraction)


def stratified_split(labels: np.ndarray, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a part of the samples, as large in every class; the same labels and seed give the same part.

    Args:
        labels: (N,) int64.
        fraction: size of the part, above 0 and below 1. A class of two or more gives one at least and keeps one.
        seed: of the draw.

    Returns:
        Indices of the rest and of the part, both ascending.
    """
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        taken[members[:count]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def grouped_part(labels: np.ndarray, groups: np.ndarray, fraction: float) -> np.ndarray:
    """Return a part of about `fraction` of the samples, in whole groups; the same samples give the same part.

    The groups are divided into as many even folds as it takes to come close, some of which are the part.

    Args:
        labels: (N,) int64 from 0 on.
        groups: (N,) str.
        fraction: above 0 and below 1.

    Returns:
        (N,) bool.

    Raises:
        ValueError: there is a single group.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise ValueError(
            f"all samples are of one group (patient, recording), {names.tolist()}; a part that shares none with the "
            "rest needs two. Give data.val files of its own, or correct the column that names the groups."
        )
    # a fraction of few parts: 0.3 as a float is a fraction with a denominator of 2^54
    most = min(_MOST_PARTS, len(names))
    share = Fraction(fraction).limit_denominator(most)
    share = min(max(share, Fraction(1, most)), Fraction(most - 1, most))
    return stratified_group_kfold(labels, groups, share.denominator) < share.numerator


def stratified_group_kfold(labels: np.ndarray, groups: np.ndarray, num_folds: int, seed: int = 0) -> np.ndarray:
    """Assign groups to folds, so that the folds are about as large and have about as much of every class.

    The groups come by size, the largest first, those of one size in random order; each goes to the fold that then is
    nearest to an equal share of every class.

    Args:
        labels: (N,) int64 in 0..K-1.
        groups: (N,) str or numbers.
        num_folds: F.
        seed: for the order of groups of one size.

    Returns:
        (N,) int64, the fold of each sample, in 0..F-1.

    Raises:
        ValueError: there are fewer groups than folds, or fewer than two folds.
    """
    names, members = np.unique(groups, return_inverse=True)
    if not 2 <= num_folds <= len(names):
        raise ValueError(
            f"{num_folds} folds of {len(names)} groups; give 2 or more folds, and at least as many groups."
        )
    counts = np.zeros((len(names), int(labels.max()) + 1))
    np.add.at(counts, (members, labels), 1)
    counts = np.hstack([counts, counts.sum(axis=1, keepdims=True)])  # and all together: size counts, too
    share = counts.sum(axis=0) / num_folds
    # by the seed, since names often have an order (by date, by clinic) that folds must not follow
    shuffled = np.random.default_rng(seed).permutation(len(names))
    # largest first: the small ones then fill the gaps, as in bin packing
    order = shuffled[np.argsort(-counts[shuffled, -1], kind="stable")]
    filled = np.zeros((num_folds, counts.shape[1]))
    chosen = np.zeros(len(names), dtype=np.int64)
    for group in order.tolist():
        # what the sum of squared distances from the share becomes, less what it is
        change = (((filled + counts[group] - share) ** 2 - (filled - share) ** 2) / np.maximum(share, 1)).sum(axis=1)
        chosen[group] = int(np.argmin(change))
        filled[chosen[group]] += counts[group]
    return chosen[members]


def check_groups(source: str | os.PathLike[str], column: str | None, groups: np.ndarray | None) -> None:
    """Refuse a column of groups for files that have no columns.

    Args:
        source: what was read.
        column: `data.group`, or None.
        groups: what was read from it.

    Raises:
        ValueError: `column` is given, but nothing was read from it.
    """
    if column is not None and groups is None:
        raise ValueError(
            f"{source}: has no columns, but data.group is {column!r}; list the files in a CSV with the columns path, "
            f"label and {column}, or leave out data.group."
        )
