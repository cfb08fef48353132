import time
from statistics import NormalDist

import numpy as np
import pytest

from vertebra.tasks.scoring.bootstrap import Interval, bootstrap


def accuracy(correct):
    return lambda times: {"accuracy": float(np.average(correct, weights=times))}


def test_the_interval_is_the_binomial_one_where_every_sample_is_a_group():
    correct = np.arange(400) < 300
    low, high = bootstrap(accuracy(correct), np.arange(400), num_draws=4000)["accuracy"]
    half = NormalDist().inv_cdf(0.975) * np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - half, abs=0.004)
    assert high == pytest.approx(0.75 + half, abs=0.004)


def test_samples_that_come_together_make_it_wider():
    correct = np.arange(400) < 300
    alone = bootstrap(accuracy(correct), np.arange(400))["accuracy"]
    copied = bootstrap(accuracy(np.repeat(correct, 4)), np.repeat(np.arange(400), 4))["accuracy"]
    assert copied == alone  # four copies of every sample know no more than one
    blind = bootstrap(accuracy(np.repeat(correct, 4)), np.arange(1600))["accuracy"]
    assert blind.high - blind.low == pytest.approx((alone.high - alone.low) / 2, rel=0.1)


def test_every_draw_has_whole_groups_and_as_many_as_there_are():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    seen = []

    def look(times):
        seen.append(times.tolist())
        return {"none": 0.0}

    bootstrap(look, groups, num_draws=200)
    assert len(seen) == 200
    for times in seen:
        b, a, *_ = times
        c = times[3]
        assert times == [b, a, b, c, a, b]
        assert a + b + c == 3
    assert len({tuple(times) for times in seen}) == 10  # all there are of three groups out of three


def test_the_same_seed_gives_the_same_interval():
    correct = np.random.default_rng(0).random(50)
    first, again, other = (bootstrap(accuracy(correct), np.arange(50), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_ends_are_the_percentiles_of_the_draws():
    values = iter(np.random.default_rng(0).permutation(1001).astype(float))
    interval = bootstrap(lambda times: {"value": next(values)}, np.arange(5), num_draws=1001)["value"]
    assert interval == pytest.approx((25, 975))


def test_undefined_draws_are_left_out_unless_they_are_most():
    def statistic(times):
        return {"often": float(times[0]) or np.nan, "seldom": float(times[0]) if times[0] > 2 else np.nan}

    intervals = bootstrap(statistic, np.arange(30))
    assert intervals["often"].low == 1  # 0 would be there if NaN counted as it
    assert intervals["often"].high >= 3
    assert np.isnan(intervals["seldom"]).all()
    assert str(intervals["seldom"]) == "undefined"
    assert str(Interval(0.25, 1)) == "0.250 to 1.000"


@pytest.mark.parametrize("size", [0, 1, 7])
def test_one_group_has_no_interval(size):
    interval = bootstrap(lambda times: {"sum": float(times.sum())}, np.full(size, "a"))["sum"]
    assert np.isnan(interval).all()


def test_it_is_quick():
    rng = np.random.default_rng(0)
    values = rng.random((10, 1000))
    started = time.process_time()
    means = {str(k): accuracy(row) for k, row in enumerate(values)}
    bootstrap(lambda times: {name: mean(times)["accuracy"] for name, mean in means.items()}, np.arange(1000))
    assert time.process_time() - started < 5
