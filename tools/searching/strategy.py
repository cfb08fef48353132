"""How a search chooses the networks that it trains: the interface of a strategy, and what it may find out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vertebra.tools.searching.candidate import Candidate


@dataclass(frozen=True)
class Plan:
    """Size of a search.

    Attributes:
        candidates: number of networks that the strategy trains.
        epochs: of its longest trainings, of random search and of the comparison.
        seed: of draws and trainings.
        seeds: number of trainings for the comparison of each network.
    """

    candidates: int
    epochs: int
    seed: int
    seeds: int


class Draws(Protocol):
    """A space of networks within the limits of a search; see `Space`."""

    def draw(self, rng: random.Random) -> Candidate:
        """Draw a candidate."""

    def child(self, parents: Sequence[Candidate], rng: random.Random) -> Candidate:
        """Return a candidate that differs a little from one or two others."""


class Evaluation(Protocol):
    """What a strategy may find out about candidates; nothing is computed twice, also after an interruption."""

    def proxies(self, candidate: Candidate) -> dict[str, float]:
        """Return zero-cost scores of the untrained candidate by name; higher is better."""

    def error(self, candidate: Candidate, epochs: int, label: str) -> float:
        """Return the error on the selecting images after a training from random weights.

        Args:
            candidate: to train.
            epochs: of the training.
            label: of the line that reports it, such as `rung 1 of 3`.
        """


# chooses, trains and returns the best candidate; all its random numbers follow from the seed of the plan
Strategy = Callable[[Draws, Plan, Evaluation], Candidate]


def draw_distinct(space: Draws, count: int, seed: int, stream: str) -> list[Candidate]:
    """Draw candidates of which no two are equal; fewer where a small space repeats itself."""
    rng = random.Random(f"{seed} {stream}")
    drawn: dict[tuple[str, int], Candidate] = {}
    for _ in range(3 * count):
        if len(drawn) == count:
            break
        candidate = space.draw(rng)
        drawn[candidate.name, candidate.size] = candidate
    return list(drawn.values())


def by_error(error: float) -> tuple[bool, float]:
    """Return a key that sorts errors with NaN last; NaN compares false with everything, which leaves any order."""
    return error != error, error
