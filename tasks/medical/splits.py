"""Parts of a split that share no patient and have about as much of every class."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from vertebra.tasks.loading.folds import stratified_group_kfold
from vertebra.tasks.medical.balance import rarest_classes
from vertebra.tasks.medical.studies import Studies

MOST_PARTS = 20


def fold(studies: Studies, num_folds: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which studies are outside fold `number` of `num_folds`, and which are in it, both ascending.

    Raises:
        ValueError: there are fewer patients than folds.
    """
    inside = stratified_group_kfold(rarest_classes(studies), studies.patients, num_folds) == number
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def part(studies: Studies, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Hold about a `fraction` of the studies apart; the same studies give the same part.

    The patients are dealt out to as many even folds as it takes to come close, of which some are held apart.

    Args:
        studies: of two patients or more.
        fraction: above 0 and below 1.

    Returns:
        Indices of the rest and of the part, both ascending.

    Raises:
        ValueError: the fraction is not between 0 and 1, or there is a single patient.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"data.val_fraction is {fraction}; give a part of the studies, above 0 and below 1.")
    num_patients = len(np.unique(studies.patients))
    if num_patients < 2:
        raise ValueError(
            f"{studies.file}: all studies are of one patient, {studies.patients[:1].tolist()}; a part that shares no "
            "patient with the rest needs two. Give data.val a list of its own, or mend data.columns.patient."
        )
    most = min(MOST_PARTS, num_patients)
    share = Fraction(fraction).limit_denominator(most)
    share = min(max(share, Fraction(1, most)), Fraction(most - 1, most))
    held = stratified_group_kfold(rarest_classes(studies), studies.patients, share.denominator) < share.numerator
    return np.flatnonzero(~held), np.flatnonzero(held)
