"""Aging evolution on objectives whose optimum is known."""

import math

import pytest

from vertebra.tools.searching.candidate import Candidate
from vertebra.tools.searching.evolution import evolve
from vertebra.tools.searching.strategy import Plan


class Line:
    """Networks 0 to 999 in a row; a child is a neighbor of its parent, or of the mean of two."""

    def draw(self, rng):
        return self.at(rng.randrange(1000))

    def child(self, parents, rng):
        mean = sum(int(one.name) for one in parents) // len(parents)
        return self.at(min(999, max(0, mean + rng.choice((-30, -7, -1, 1, 7, 30)))))

    def at(self, number):
        return Candidate(str(number), 8, 1, 1)


class Distance:
    """The error is the distance to one network, the optimum."""

    def __init__(self, optimum=437):
        self.optimum = optimum
        self.trained = []

    def error(self, candidate, epochs, label):
        self.trained.append((candidate.name, epochs))
        return abs(int(candidate.name) - self.optimum) / 1000


def best_drawn(evaluation, count):
    return min(abs(int(name) - evaluation.optimum) for name, _ in evaluation.trained[:count])


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_of_a_smooth_objective_is_found(seed):
    evaluation = Distance()
    assert evolve(Line(), Plan(180, 9, seed, 1), evaluation).name == "437"
    assert best_drawn(evaluation, 60) > 0  # the first population does not have it


def test_every_network_trains_once_briefly_and_the_best_few_for_long():
    evaluation = Distance()
    found = evolve(Line(), Plan(27, 9, 0, 1), evaluation)
    brief, long = evaluation.trained[:27], evaluation.trained[27:]
    assert {epochs for _, epochs in brief} == {3}
    assert len(set(brief)) == 27
    best = sorted((abs(int(name) - 437), name) for name, _ in brief)[:3]
    assert sorted(long) == sorted((name, 9) for _, name in best)
    assert found.name == best[0][1]


def test_the_oldest_leaves_the_population_even_if_it_is_the_best():
    bred = []

    class Watched(Line):
        def child(self, parents, rng):
            bred.extend((len(evaluation.trained), one.name) for one in parents)
            return super().child(parents, rng)

    evaluation = Distance()
    evolve(Watched(), Plan(60, 3, 0, 1), evaluation)
    place = {name: number for number, (name, _) in enumerate(evaluation.trained[:60])}
    assert bred
    # of 20 in the population, so that none breeds after 20 younger ones have come
    assert all(number - place[name] <= 20 for number, name in bred)
    assert len({len([1 for n, _ in bred if n == number]) for number, _ in bred}) > 1  # one parent, and two


def test_a_network_that_diverged_has_no_children_and_small_spaces_end():
    class Broken(Distance):
        def error(self, candidate, epochs, label):
            error = super().error(candidate, epochs, label)
            return math.nan if int(candidate.name) < 400 else error

    assert evolve(Line(), Plan(180, 9, 0, 1), Broken()).name == "437"

    class Two(Line):
        def at(self, number):
            return super().at(number % 2)

    evaluation = Distance(optimum=1)
    assert evolve(Two(), Plan(30, 1, 0, 1), evaluation).name == "1"
    assert sorted(name for name, _ in evaluation.trained[:2]) == ["0", "1"]


@pytest.mark.parametrize("candidates", [1, 2, 3])
def test_few_candidates_suffice(candidates):
    evaluation = Distance()
    evolve(Line(), Plan(candidates, 1, 0, 1), evaluation)
    assert len(evaluation.trained) == candidates + 1
