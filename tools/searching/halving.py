"""Successive halving: many candidates are trained briefly, the best of them longer.

Non-stochastic Best Arm Identification and Hyperparameter Optimization, Jamieson and Talwalkar 2016,
https://arxiv.org/abs/1502.07943
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")
ETA = 3  # of the paper's successors: a third of the candidates goes on, for three times as long


class Rung(NamedTuple):
    """One round of trainings.

    Attributes:
        candidates: number of them.
        epochs: that each is trained for, from the start.
    """

    candidates: int
    epochs: int


def plan_rungs(count: int, epochs: int) -> list[Rung]:
    """Return the rungs for a number of candidates, of which the last trains for `epochs` epochs.

    There are as many as both numbers allow: one candidate and one epoch are the least of a rung.
    """
    rungs = [Rung(count, epochs)]
    while rungs[0].epochs >= ETA and rungs[-1].candidates >= ETA:
        rungs = [Rung(rung.candidates, max(1, rung.epochs // ETA)) for rung in rungs]
        rungs.append(Rung(max(1, rungs[-1].candidates // ETA), epochs))
    return rungs


def successive_halving(
    candidates: Sequence[T], rungs: Sequence[Rung], error: Callable[[T, Rung], float]
) -> list[tuple[T, float]]:
    """Return the candidates of the last rung with their errors, the best first; ties keep the given order.

    Args:
        candidates: as many as the first rung has, or fewer.
        rungs: see `plan_rungs`.
        error: trains a candidate for the epochs of a rung and returns its error; NaN ranks last.
    """
    ranked: list[tuple[T, float]] = [(candidate, float("nan")) for candidate in candidates]
    for rung in rungs:
        kept = [candidate for candidate, _ in ranked[: rung.candidates]]
        errors = [error(candidate, rung) for candidate in kept]
        # NaN compares false with everything, and would leave an arbitrary order
        ranked = sorted(zip(kept, errors, strict=True), key=lambda pair: (pair[1] != pair[1], pair[1]))
    return ranked
