"""Random search, the baseline of every strategy."""

from __future__ import annotations

import random

from vertebra.tools.searching.candidate import Candidate
from vertebra.tools.searching.strategy import Draws, Evaluation, Plan, by_error


def search_randomly(space: Draws, plan: Plan, evaluation: Evaluation, limit: float) -> Candidate:
    """Train drawn candidates for all epochs until they cost as much as another search, and return the best.

    Args:
        space: to draw from.
        plan: size of the search; the number of candidates follows from `limit`.
        evaluation: of candidates.
        limit: multiply-accumulates for one image in every epoch of all trainings; one is trained at least.
    """
    rng = random.Random(f"{plan.seed} random")
    spent = 0.0
    found: list[tuple[float, Candidate]] = []
    while True:
        candidate = space.draw(rng)
        spent += candidate.macs * plan.epochs
        if found and spent > limit:
            break
        label = f"random {len(found) + 1}, {min(1, spent / limit):.0%} of the cost"
        found.append((evaluation.error(candidate, plan.epochs, label), candidate))
    return min(found, key=lambda pair: by_error(pair[0]))[1]
