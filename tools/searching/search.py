"""Search by a strategy, beside random search of equal cost and the hand-made network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.stats import rankdata

from vertebra.tools.searching.candidate import Candidate
from vertebra.tools.searching.evolution import evolve
from vertebra.tools.searching.halving import halve
from vertebra.tools.searching.random_search import search_randomly
from vertebra.tools.searching.space import Space
from vertebra.tools.searching.strategy import Plan, Strategy
from vertebra.tools.searching.trials import Trials

STRATEGIES: Mapping[str, Strategy] = {"halving": halve, "evolution": evolve}
METHODS = ("search", "random", "hand-made")
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
        correlations: proxy -> Spearman's rank correlation with the accuracy in the first rung; empty without proxies.
        cost: method -> multiply-accumulates of its trainings relative to those of the search.
    """

    trials: list[Trial]
    best: dict[str, Candidate]
    finals: dict[str, list[float]]
    correlations: dict[str, float]
    cost: dict[str, float]


def run_search(
    space: Space,
    strategy: Strategy,
    plan: Plan,
    training: Training,
    record: Trials,
    progress: Callable[[str], None],
) -> Outcome:
    """Search, and compare the found network with random search of equal cost and with the hand-made one.

    Args:
        space: with its limits.
        strategy: of the search.
        plan: size of the search.
        training: of candidates.
        record: of trials, which are not repeated.
        progress: takes a line for each trial that is computed.
    """
    evaluation = _Recorded(plan, training, record, progress)
    best = {"search": strategy(space, plan, evaluation)}
    correlations = evaluation.correlations()
    evaluation.method = "random"
    best["random"] = search_randomly(space, plan, evaluation, cost_of(evaluation.trials))
    evaluation.method = "hand-made"
    best["hand-made"] = space.handmade()
    evaluation.error(best["hand-made"], plan.epochs, "hand-made")
    trials = evaluation.trials
    spent = {method: cost_of([trial for trial in trials if trial.method == method]) for method in METHODS}
    cost = {method: spent[method] / spent["search"] for method in METHODS}
    return Outcome(trials, best, evaluation.compare(best), correlations, cost)


class _Recorded:
    """Evaluation of candidates for a method, with a record.

    Attributes:
        method: that the next trainings belong to.
        trials: of all methods, in order.
    """

    def __init__(self, plan: Plan, training: Training, record: Trials, progress: Callable[[str], None]) -> None:
        self.method = "search"
        self.trials: list[Trial] = []
        self._plan, self._training, self._record, self._progress = plan, training, record, progress
        self._scores: dict[Candidate, dict[str, float]] = {}

    def proxies(self, candidate: Candidate) -> dict[str, float]:
        seed = self._plan.seed
        key = {"proxies": candidate.name, "size": candidate.size, "seed": seed}
        self._scores[candidate] = self._record.result(key, lambda: self._training.proxies(candidate, seed))
        return self._scores[candidate]

    def error(self, candidate: Candidate, epochs: int, label: str) -> float:
        plan = self._plan
        train = partial(self._training.error, candidate, epochs, plan.seed, final=False)
        what = f"{label}: {candidate.name} at {candidate.size} pixels, {candidate.cost()}"
        key = {"name": candidate.name, "size": candidate.size, "epochs": epochs, "seed": plan.seed}
        error = self._result(key, train, f"{what}: error {{:.3f}} after {epochs} of {plan.epochs} epochs")
        self.trials.append(Trial(self.method, candidate, epochs, error))
        return error

    def compare(self, best: Mapping[str, Candidate]) -> dict[str, list[float]]:
        """Return the errors of the best candidates of all methods, for each seed of the comparison."""
        plan = self._plan
        finals: dict[str, list[float]] = {method: [] for method in best}
        for seed in range(_FINAL_SEED + plan.seed, _FINAL_SEED + plan.seed + plan.seeds):
            for method, candidate in best.items():
                train = partial(self._training.error, candidate, plan.epochs, seed, final=True)
                key = {"final": candidate.name, "size": candidate.size, "epochs": plan.epochs, "seed": seed}
                finals[method].append(self._result(key, train, f"comparison, seed {seed}, {method}: error {{:.3f}}"))
        return finals

    def correlations(self) -> dict[str, float]:
        """Return the rank correlation of each proxy with the accuracy after the shortest trainings."""
        shortest = min(trial.epochs for trial in self.trials)
        first = [trial for trial in self.trials if trial.epochs == shortest and trial.candidate in self._scores]
        names = self._scores[first[0].candidate] if first else ()
        accuracies = [-trial.error for trial in first]
        return {
            name: rank_correlation([self._scores[trial.candidate][name] for trial in first], accuracies)
            for name in names
        }

    def _result(self, key: Mapping[str, Any], train: Callable[[], float], line: str) -> float:
        def compute() -> dict[str, Any]:
            started = time.monotonic()
            error = train()
            seconds = time.monotonic() - started
            self._progress(f"{line.format(error)} in {seconds:.0f} s")
            return {"error": error, "seconds": seconds}

        return float(self._record.result(key, compute)["error"])


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation, NaN where it is not defined."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return float("nan")
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def cost_of(trials: Sequence[Trial]) -> float:
    """Return multiply-accumulates for one image in every epoch of all trials: cost up to a common factor."""
    return float(sum(trial.candidate.macs * trial.epochs for trial in trials))


def pareto_front(points: Sequence[Trial], cost: Callable[[Candidate], float] = lambda one: one.macs) -> list[Trial]:
    """Return the trials that no other one equals or beats in both cost and error, by cost."""
    front: list[Trial] = []
    for trial in sorted(points, key=lambda one: (cost(one.candidate), one.error)):
        if not front or trial.error < front[-1].error:
            front.append(trial)
    return front
