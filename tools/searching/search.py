"""Search by proxies and successive halving, beside random search of equal cost and the hand-made network."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.stats import rankdata

from vertebra.tools.analyses.progress import track
from vertebra.tools.searching.halving import Rung, plan_rungs, successive_halving
from vertebra.tools.searching.space import Candidate, Space
from vertebra.tools.searching.trials import Trials

METHODS = ("search", "random", "hand-made")
_POOL = 3  # drawn candidates for each that is trained
_FINAL_SEED = 1000  # of the first comparison: no seed that a candidate was selected by


class Training(Protocol):
    """Trains and scores candidates."""

    def proxies(self, candidate: Candidate, seed: int) -> dict[str, float]:
        """Return zero-cost scores of an untrained candidate by name; higher is better."""

    def error(self, candidate: Candidate, epochs: int, seed: int, final: bool) -> float:
        """Return the error after a training.

        Args:
            candidate: to train from random weights.
            epochs: of the training.
            seed: of it.
            final: whether it is trained and measured for the comparison, on images that select no candidate.
        """


@dataclass(frozen=True)
class Plan:
    """Size of a search.

    Attributes:
        candidates: number of candidates in the first rung.
        epochs: of the last rung, of random search and of the comparison.
        seed: of draws and trainings.
        seeds: number of trainings for the comparison of each network.
    """

    candidates: int
    epochs: int
    seed: int
    seeds: int


class Trial(NamedTuple):
    """A training for the selection.

    Attributes:
        method: `search`, `random` or `hand-made`.
        candidate: that was trained.
        epochs: that it was trained for.
        error: on the images that select.
    """

    method: str
    candidate: Candidate
    epochs: int
    error: float


class Outcome(NamedTuple):
    """What a search found.

    Attributes:
        trials: all trainings for the selection.
        best: candidate of each method.
        finals: method -> error of each seed of the comparison.
        correlations: proxy -> Spearman's rank correlation with the accuracy in the first rung.
        cost: method -> multiply-accumulates of its trainings relative to those of the search.
    """

    trials: list[Trial]
    best: dict[str, Candidate]
    finals: dict[str, list[float]]
    correlations: dict[str, float]
    cost: dict[str, float]


def run_search(
    space: Space, plan: Plan, training: Training, record: Trials, progress: Callable[[str], None]
) -> Outcome:
    """Search, and compare the found network with random search of equal cost and with the hand-made one.

    Args:
        space: with its budget.
        plan: size of the search.
        training: of candidates.
        record: of trials, which are not repeated.
        progress: takes a line for each trial that is computed.
    """
    trials: list[Trial] = []

    def trained(method: str, candidate: Candidate, epochs: int, label: str) -> float:
        def compute() -> dict[str, Any]:
            started = time.monotonic()
            error = training.error(candidate, epochs, plan.seed, final=False)
            seconds = time.monotonic() - started
            size = f"{candidate.name} at {candidate.size} pixels, {candidate.macs / 1e6:.1f} M"
            progress(f"{label}: {size}: error {error:.3f} after {epochs} of {plan.epochs} epochs in {seconds:.0f} s")
            return {"error": error, "seconds": seconds}

        key = {"name": candidate.name, "size": candidate.size, "epochs": epochs, "seed": plan.seed}
        error = float(record.result(key, compute)["error"])
        trials.append(Trial(method, candidate, epochs, error))
        return error

    pool = draw_distinct(space, _POOL * plan.candidates, plan.seed, "pool")
    scores = [
        record.result(
            {"proxies": candidate.name, "size": candidate.size, "seed": plan.seed},
            lambda candidate=candidate: training.proxies(candidate, plan.seed),  # type: ignore[misc]
        )
        for candidate in track(pool, "scoring untrained networks")
    ]
    order = vote(scores)
    chosen = [pool[index] for index in order[: plan.candidates]]
    rungs = plan_rungs(len(chosen), plan.epochs)

    done = dict.fromkeys(rungs, 0)

    def rung_error(candidate: Candidate, rung: Rung) -> float:
        done[rung] += 1
        label = f"rung {rungs.index(rung) + 1} of {len(rungs)}, {done[rung]} of {rung.candidates}"
        return trained("search", candidate, rung.epochs, label)

    best = {"search": successive_halving(chosen, rungs, rung_error)[0][0]}
    first = [trial.error for trial in trials[: len(chosen)]]
    correlations = {
        name: rank_correlation([scores[index][name] for index in order[: plan.candidates]], [-error for error in first])
        for name in scores[0]
    }

    best["random"] = _random_search(space, plan, cost_of(trials), trained)
    best["hand-made"] = space.handmade()
    trained("hand-made", best["hand-made"], plan.epochs, "hand-made")
    spent = {method: cost_of([trial for trial in trials if trial.method == method]) for method in METHODS}
    cost = {method: spent[method] / spent["search"] for method in METHODS}
    finals = _compare(best, plan, training, record, progress)
    return Outcome(trials, best, finals, correlations, cost)


def draw_distinct(space: Space, count: int, seed: int, stream: str) -> list[Candidate]:
    """Draw candidates of which no two are equal; fewer where a small space repeats itself."""
    rng = random.Random(f"{seed} {stream}")
    drawn: dict[tuple[str, int], Candidate] = {}
    for _ in range(3 * count):
        if len(drawn) == count:
            break
        candidate = space.draw(rng)
        drawn[candidate.name, candidate.size] = candidate
    return list(drawn.values())


def vote(scores: Sequence[dict[str, float]]) -> list[int]:
    """Return the indices of candidates by the mean of their ranks over all proxies, the best first."""
    totals = [0] * len(scores)
    for name in scores[0]:
        for rank, index in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i][name])):
            totals[index] += rank
    return sorted(range(len(scores)), key=lambda i: totals[i])


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation, NaN where it is not defined."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return float("nan")
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def cost_of(trials: Sequence[Trial]) -> float:
    """Return multiply-accumulates for one image in every epoch of all trials: cost up to a common factor."""
    return float(sum(trial.candidate.macs * trial.epochs for trial in trials))


def pareto_front(points: Sequence[Trial]) -> list[Trial]:
    """Return the trials that no other one equals or beats in both operations and error, by operations."""
    front: list[Trial] = []
    for trial in sorted(points, key=lambda one: (one.candidate.macs, one.error)):
        if not front or trial.error < front[-1].error:
            front.append(trial)
    return front


def _random_search(
    space: Space, plan: Plan, limit: float, trained: Callable[[str, Candidate, int, str], float]
) -> Candidate:
    """Train random candidates for all epochs until they cost as much as the search, and return the best."""
    rng = random.Random(f"{plan.seed} random")
    spent = 0.0
    found: list[tuple[float, int, Candidate]] = []
    while True:
        candidate = space.draw(rng)
        spent += candidate.macs * plan.epochs
        if found and spent > limit:
            break
        label = f"random {len(found) + 1}, {min(1, spent / limit):.0%} of the cost"
        found.append((trained("random", candidate, plan.epochs, label), len(found), candidate))
    return min(found)[2]


def _compare(
    best: dict[str, Candidate], plan: Plan, training: Training, record: Trials, progress: Callable[[str], None]
) -> dict[str, list[float]]:
    finals: dict[str, list[float]] = {method: [] for method in best}
    for seed in range(_FINAL_SEED + plan.seed, _FINAL_SEED + plan.seed + plan.seeds):
        for method, candidate in best.items():

            def compute(candidate: Candidate = candidate, seed: int = seed, method: str = method) -> dict[str, Any]:
                started = time.monotonic()
                error = training.error(candidate, plan.epochs, seed, final=True)
                seconds = time.monotonic() - started
                progress(f"comparison, seed {seed}, {method}: error {error:.3f} in {seconds:.0f} s")
                return {"error": error, "seconds": seconds}

            key = {"final": candidate.name, "size": candidate.size, "epochs": plan.epochs, "seed": seed}
            finals[method].append(float(record.result(key, compute)["error"]))
    return finals
