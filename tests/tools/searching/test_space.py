"""Search space: the budget holds, costs are those of the table of backbones, and draws are repeatable."""

import random

import pytest

from vertebra.backbones.resnet_spelled import ResNetDesign
from vertebra.tools.backbones import count, describe
from vertebra.tools.searching.candidate import Limits
from vertebra.tools.searching.space import Space, widest


@pytest.mark.parametrize(("side", "budget"), [(32, 41_000_000), (224, 200_000_000)])
def test_the_budget_is_never_exceeded(side, budget):
    space, rng = Space(side, Limits(budget)), random.Random(0)
    drawn = space.draw(rng)
    for candidate in (drawn, space.child([drawn], rng), space.handmade()):
        assert candidate.size in space.pool.sizes
        assert budget / 4 <= candidate.macs <= budget
        cost = count(candidate.name, (candidate.size, candidate.size))
        assert (cost.macs, cost.parameters) == (candidate.macs, candidate.parameters)


def test_draws_follow_from_the_seed():
    space = Space(24, Limits(3_000_000))
    first, again, other = ([space.draw(random.Random(seed))] for seed in (0, 0, 1))
    assert first == again != other


def test_the_handmade_network_is_the_published_one_at_its_own_cost():
    own = describe("resnet20_b")
    assert Space(32, Limits(round(own.gmacs * 1e9))).handmade().name == "resnet:small-basic-d3.3.3-w16.32.64"
    assert Space(32, Limits(round(own.gmacs * 1e9) - 1)).handmade().name == "resnet:small-basic-d3.3.3-w15.30.60"


def test_large_images_have_a_handmade_network_of_four_stages():
    budget = count("resnet18", (64, 64)).macs
    assert Space(64, Limits(budget)).handmade().name.startswith("resnet:small-basic-d3.3.3-")
    with_pooling = Space(65, Limits(budget))
    assert with_pooling.handmade().name.startswith("resnet:plain-basic-d2.2.2.2-")
    assert with_pooling.pool.stages == 4


def test_resolutions_go_up_to_that_of_the_data():
    assert Space(32, Limits(1)).pool.sizes == (20, 28, 32)
    assert Space(28, Limits(1)).pool.sizes == (20, 24, 28)
    assert Space(224, Limits(1)).pool.sizes == (148, 188, 224)
    assert Space(224, Limits(1)).pool.stems == ("plain", "deep")


def test_budgets_that_are_too_small_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"budget of 1,000 multiply-accumulates is too small for 24 x 24 pixels"):
        Space(24, Limits(1000)).handmade()
    monkeypatch.setattr("vertebra.tools.searching.space._ATTEMPTS", 3)
    with pytest.raises(ValueError, match="allows none of 3 drawn networks for 24 x 24 pixels; give a larger --budget"):
        Space(24, Limits(1000)).draw(random.Random(0))


def test_the_widest_network_within_a_budget_is_found():
    def design(base):
        return ResNetDesign("small", "basic", (1,), (base,))

    costs = {base: count(design(base).name, (8, 8)).macs for base in range(1, 9)}
    for most in (1, 5, 8):
        for base, cost in costs.items():
            for budget in (cost, cost - 1):
                fitting = [one for one in range(1, most + 1) if costs[one] <= budget]
                found = widest(design, 8, Limits(budget), 1, most)
                assert (found and found.name) == (design(max(fitting)).name if fitting else None), (most, base)
