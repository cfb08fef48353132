import math

import pytest

from vertebra.tasks.training.schedules import Cosine, MultiStep, Poly, Schedule


@pytest.mark.parametrize("schedule", [Cosine(0.2), MultiStep(0.2), Poly(0.2)])
def test_warm_up_rises_linearly_to_one(schedule):
    assert schedule(0.0) == 0
    assert schedule(0.05) == pytest.approx(0.25)
    assert schedule(0.1) == pytest.approx(0.5)
    assert schedule(0.2) == pytest.approx(1.0)


def test_cosine_falls_from_one_to_its_end():
    schedule = Cosine(warmup=0.1, end=0.2)
    assert schedule(0.1) == pytest.approx(1.0)
    assert schedule(0.55) == pytest.approx(0.6)
    assert schedule(1.0) == pytest.approx(0.2)
    assert schedule(1.01) == pytest.approx(0.2)  # a step more than was estimated
    values = [schedule(0.1 + 0.9 * i / 50) for i in range(51)]
    assert values == sorted(values, reverse=True)


def test_without_warm_up_it_starts_at_one():
    assert Cosine(warmup=0)(0.0) == 1
    assert Cosine(warmup=0)(0.25) == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))


def test_milestones_are_fractions_of_the_whole_training():
    schedule = MultiStep(warmup=0.1, milestones=(0.5, 0.8), gamma=0.1)
    for progress, factor in [(0.1, 1), (0.49, 1), (0.51, 0.1), (0.79, 0.1), (0.81, 0.01), (1.0, 0.01)]:
        assert schedule(progress) == pytest.approx(factor), progress


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 500])
def test_a_warm_up_in_steps_is_refused(warmup):
    with pytest.raises(ValueError, match=f"warmup is {warmup}; expected a fraction of the training"):
        Cosine(warmup)


def test_a_schedule_needs_a_shape():
    with pytest.raises(TypeError, match="abstract"):
        Schedule(0.0)


def test_poly_is_a_power_of_the_remaining_fraction():
    schedule = Poly(warmup=0.2, power=0.9)
    assert schedule(0.2) == pytest.approx(1.0)
    assert schedule(0.6) == pytest.approx(0.5**0.9)
    assert schedule(1.0) == schedule(1.01) == 0
    with pytest.raises(ValueError, match="power is 0; expected a number above 0"):
        Poly(power=0)
