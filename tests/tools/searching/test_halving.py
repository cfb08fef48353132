"""Successive halving on tables of known errors."""

import pytest

from vertebra.tools.searching.halving import Rung, plan_rungs, successive_halving


def test_rungs_train_a_third_three_times_as_long():
    assert plan_rungs(27, 18) == [Rung(27, 2), Rung(9, 6), Rung(3, 18)]
    assert plan_rungs(27, 27) == [Rung(27, 1), Rung(9, 3), Rung(3, 9), Rung(1, 27)]
    assert plan_rungs(2, 18) == [Rung(2, 18)]
    assert plan_rungs(10, 2) == [Rung(10, 2)]


def test_the_best_of_a_table_is_found_where_ranks_persist():
    table = {name: error for error, name in enumerate("qwertyuiopasdfghjklzxcvbnm1")}
    ranked = successive_halving(sorted(table), plan_rungs(27, 18), lambda name, rung: table[name] / rung.epochs)
    assert ranked == [("q", 0), ("w", 1 / 18), ("e", 2 / 18)]


def test_trainings_are_those_of_the_rungs():
    trained = []

    def error(candidate, rung):
        trained.append((candidate, rung.epochs))
        return float(-candidate)

    successive_halving(range(9), plan_rungs(9, 9), error)
    assert trained == [*((i, 1) for i in range(9)), (8, 3), (7, 3), (6, 3), (8, 9)]


def test_a_late_bloomer_is_lost_and_a_diverged_one_ranks_last():
    # the known weakness: what is worst after a few epochs is never trained for longer
    errors = {1: {"late": 0.9, "a": 0.5, "b": 0.6}, 3: {"late": 0.0, "a": 0.4, "b": 0.3}}
    assert successive_halving(list(errors[1]), plan_rungs(3, 3), lambda x, rung: errors[rung.epochs][x]) == [("a", 0.4)]
    table = {"nan": float("nan"), "bad": 1.0, "good": 0.1, "nan too": float("nan")}
    ranked = successive_halving(list(table), [Rung(4, 1)], lambda name, rung: table[name])
    assert [name for name, _ in ranked] == ["good", "bad", "nan", "nan too"]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 26, 100])
@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 50])
def test_any_size_of_a_search_ends_in_full_trainings(count, epochs):
    rungs = plan_rungs(count, epochs)
    assert rungs[0].candidates == count
    assert rungs[-1].epochs == epochs
    assert all(rung.candidates >= 1 and rung.epochs >= 1 for rung in rungs)
