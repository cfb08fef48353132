"""Cross-validation in which files of one group (a patient, a recording) stand on one side only."""

from __future__ import annotations

import numpy as np


def check_division(val_fraction: float, folds: int, fold: int) -> None:
    """Refuse to hold a part of a training split apart in two ways at once, or a fold that is none.

    Args:
        val_fraction: the part, or 0.
        folds: how many folds the split is dealt out to, or 0.
        fold: which of them is held apart, from 0 on.

    Raises:
        ValueError: there is one fold or a negative number of them, `fold` is none of them, or both ways are asked for.
    """
    if folds and not (folds > 1 and 0 <= fold < folds):
        raise ValueError(f"fold is {fold} of {folds}; give two or more folds, and a fold from 0 to below that.")
    if folds and val_fraction:
        raise ValueError(f"val_fraction is {val_fraction} and folds {folds}; give one of them.")


def stratified_group_kfold(labels: np.ndarray, groups: np.ndarray, num_folds: int, seed: int = 0) -> np.ndarray:
    """Deal groups out to folds, so that the folds are about as large and have about as much of every class.

    The groups come by size, the largest first, those of one size by chance; each goes to the fold that then is nearest
    to an equal share of every class.

    Args:
        labels: (N,) int64 in 0..K-1.
        groups: (N,) str or numbers.
        num_folds: F.
        seed: for the order of groups of one size.

    Returns:
        (N,) int64, the fold of each file, in 0..F-1.

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
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-counts[shuffled, -1], kind="stable")]
    filled = np.zeros((num_folds, counts.shape[1]))
    chosen = np.zeros(len(names), dtype=np.int64)
    for group in order.tolist():
        # what the sum of squared distances from the share becomes, less what it is
        change = (((filled + counts[group] - share) ** 2 - (filled - share) ** 2) / np.maximum(share, 1)).sum(axis=1)
        chosen[group] = int(np.argmin(change))
        filled[chosen[group]] += counts[group]
    return chosen[members]
