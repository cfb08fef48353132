"""Aging evolution: mutants of the best of a sample enter a population, the oldest leaves it.

Regularized Evolution for Image Classifier Architecture Search, Real et al. 2019, https://arxiv.org/abs/1802.01548. As
there, networks train briefly while they evolve, and the best of all that were seen train for long. Differences:
half of the children have two parents, and no network is trained twice.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection

from vertebra.tools.searching.candidate import Candidate
from vertebra.tools.searching.strategy import Draws, Evaluation, Plan, by_error, draw_distinct

_SHARE = 3  # a third of the candidates are drawn, and are the first population; a third of that is a sample
_BRIEF = 3  # the brief trainings are a third as long
_LAST = 9  # one in nine of the candidates is trained for long, as in three rungs of successive halving
_CROSSING = 0.5  # of the children have two parents
_TRIES = 20  # for a child that was not trained before


def evolve(space: Draws, plan: Plan, evaluation: Evaluation) -> Candidate:
    """Evolve candidates, and return the best after a long training of the last few."""
    brief = max(1, plan.epochs // _BRIEF)
    size = min(plan.candidates, max(2, plan.candidates // _SHARE))
    rng = random.Random(f"{plan.seed} evolution")
    errors: dict[Candidate, float] = {}  # in the order of training

    def train(candidate: Candidate) -> None:
        label = f"evolution, {len(errors) + 1} of {plan.candidates}"
        errors[candidate] = evaluation.error(candidate, brief, label)

    def fitness(candidate: Candidate) -> tuple[bool, float]:
        return by_error(errors[candidate])

    population = deque(draw_distinct(space, size, plan.seed, "population"))
    for candidate in population:
        train(candidate)
    while len(errors) < plan.candidates:
        sample = rng.sample(population, min(len(population), max(2, size // _SHARE)))
        parents = sorted(sample, key=fitness)[: 2 if rng.random() < _CROSSING else 1]
        child = _new(space, parents, errors.keys(), rng)
        if child is None:  # everything near these parents was trained
            break
        train(child)
        population.append(child)
        population.popleft()
    last = sorted(errors, key=fitness)[: max(1, plan.candidates // _LAST)]
    long = [
        evaluation.error(candidate, plan.epochs, f"the best, {number} of {len(last)}")
        for number, candidate in enumerate(last, start=1)
    ]
    return min(zip(last, long, strict=True), key=lambda pair: by_error(pair[1]))[0]


def _new(
    space: Draws, parents: list[Candidate], trained: Collection[Candidate], rng: random.Random
) -> Candidate | None:
    """Return a child that was not trained before, else a drawn candidate, None if each of a few was trained."""
    seen = {(candidate.name, candidate.size) for candidate in trained}
    for attempt in range(2 * _TRIES):
        child = space.child(parents, rng) if attempt < _TRIES else space.draw(rng)
        if (child.name, child.size) not in seen:
            return child
    return None
