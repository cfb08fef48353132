"""Successive halving: many candidates are trained briefly, the best of them longer.

Non-stochastic Best Arm Identification and Hyperparameter Optimization, Jamieson and Talwalkar 2016,
https://arxiv.org/abs/1502.07943
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from vertebra.tools.analyses.progress import track
from vertebra.tools.searching.candidate import Candidate
from vertebra.tools.searching.strategy import Draws, Evaluation, Plan, by_error, draw_distinct

T = TypeVar("T")
ETA = 3  # of the paper's successors: a third of the candidates goes on, for three times as long
_POOL = 3  # drawn candidates for each that is trained


class Rung(NamedTuple):
    """One round of trainings.

    Attributes:
        candidates: number of them.
        epochs: that each is trained for, from the start.
    """

    candidates: int
    epochs: int


def halve(space: Draws, plan: Plan, evaluation: Evaluation) -> Candidate:
    """Choose candidates by zero-cost proxies, and return the best by successive halving."""
    pool = draw_distinct(space, _POOL * plan.candidates, plan.seed, "pool")
    scores = [evaluation.proxies(candidate) for candidate in track(pool, "scoring untrained networks")]
    chosen = [pool[index] for index in vote(scores)[: plan.candidates]]
    rungs = plan_rungs(len(chosen), plan.epochs)
    done = dict.fromkeys(rungs, 0)

    def error(candidate: Candidate, rung: Rung) -> float:
        done[rung] += 1
        label = f"rung {rungs.index(rung) + 1} of {len(rungs)}, {done[rung]} of {rung.candidates}"
        return evaluation.error(candidate, rung.epochs, label)

    return successive_halving(chosen, rungs, error)[0][0]


def vote(scores: Sequence[dict[str, float]]) -> list[int]:
    """Return the indices of candidates by the mean of their ranks over all proxies, the best first."""
    totals = [0] * len(scores)
    for name in scores[0]:
        for rank, index in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i][name])):
            totals[index] += rank
    return sorted(range(len(scores)), key=lambda i: totals[i])


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
        ranked = sorted(zip(kept, errors, strict=True), key=lambda pair: by_error(pair[1]))
    return ranked
