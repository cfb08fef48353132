import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from vertebra.tasks.scoring.delong import delong_test


def plain_delong(truth, first, second):
    """DeLong et al. 1988, equations 3 to 8, pair by pair."""
    components = []
    for scores in (first, second):
        x, y = scores[truth == 1], scores[truth == 0]
        psi = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
        components.append((psi.mean(), psi.mean(axis=1), psi.mean(axis=0)))
    areas = np.array([area for area, _, _ in components])
    s10 = np.cov([v10 for _, v10, _ in components])
    s01 = np.cov([v01 for _, _, v01 in components])
    covariance = s10 / (truth == 1).sum() + s01 / (truth == 0).sum()
    contrast = np.array([1, -1])
    return areas, contrast @ areas, contrast @ covariance @ contrast


def drawn(seed, number=80, levels=None):
    rng = np.random.default_rng(seed)
    truth = (rng.random(number) < 0.4).astype(float)
    common = rng.normal(size=number) + truth
    scores = [common + rng.normal(size=number) * noise for noise in (0.5, 1.5)]
    return truth, *(part if levels is None else np.round(part * levels) for part in scores)


@pytest.mark.parametrize("levels", [None, 2, 1])
@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_the_pairs_say(seed, levels):
    truth, first, second = drawn(seed, levels=levels)
    areas, difference, variance = plain_delong(truth, first, second)
    test = delong_test(truth, first, second)
    assert (test.first, test.second) == pytest.approx(tuple(areas), abs=1e-12)
    assert test.first == pytest.approx(roc_auc_score(truth, first), abs=1e-12)
    assert test.difference == pytest.approx(difference, abs=1e-12)
    assert test.z == pytest.approx(difference / np.sqrt(variance), rel=1e-9)
    assert test.interval == pytest.approx(
        (difference - 1.959964 * variance**0.5, difference + 1.959964 * variance**0.5)
    )


def test_p_is_two_sided_and_that_of_the_normal_distribution():
    for seed in range(5):
        test = delong_test(*drawn(seed))
        assert test.p == pytest.approx(2 * norm.sf(abs(test.z)), rel=1e-9)


def test_it_does_not_matter_which_is_first():
    truth, first, second = drawn(0)
    one, other = delong_test(truth, first, second), delong_test(truth, second, first)
    assert (one.difference, one.z, one.p) == pytest.approx((-other.difference, -other.z, other.p))


def test_unknown_samples_are_left_out():
    truth, first, second = drawn(1)
    masked = np.where(np.arange(len(truth)) % 3 == 0, np.nan, truth)
    known = ~np.isnan(masked)
    assert delong_test(masked, first, second) == delong_test(truth[known], first[known], second[known])


def test_of_runs_that_do_not_differ_a_twentieth_is_called_different():
    rng = np.random.default_rng(0)
    called = []
    for _ in range(1000):
        truth = (np.arange(100) < 40).astype(float)
        signal = rng.normal(size=100) + truth
        scores = signal + rng.normal(size=(2, 100))
        called.append(delong_test(truth, *scores).p < 0.05)
    assert np.mean(called) == pytest.approx(0.05, abs=0.02)


def test_the_same_order_is_no_difference():
    truth, first, _ = drawn(2)
    test = delong_test(truth, first, np.exp(first))
    assert (test.difference, test.interval, test.z, test.p) == (0, (0, 0), 0, 1)


def test_what_cannot_be_tested_is_undefined():
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    for truth in (np.zeros(4), np.ones(4), np.full(4, np.nan), np.zeros(0)):
        assert np.isnan(delong_test(truth, scores[: len(truth)], scores[: len(truth)]).first)
    single = delong_test(np.array([0, 0, 0, 1.0]), scores, np.array([0.4, 0.1, 0.2, 0.3]))
    assert single.first == 1
    assert single.difference == pytest.approx(1 / 3)
    assert np.isnan([single.z, single.p, *single.interval]).all()
    perfect = delong_test(np.array([0, 0, 1.0, 1.0]), scores, np.zeros(4))  # neither varies at all
    assert perfect.difference == 0.5
    assert np.isnan([perfect.z, perfect.p, *perfect.interval]).all()


def test_many_samples_take_no_table_of_pairs():
    rng = np.random.default_rng(0)
    truth = (rng.random(200_000) < 0.5).astype(float)  # of pairs there are 10 milliards
    test = delong_test(truth, rng.normal(size=200_000) + truth, rng.normal(size=200_000) + truth)
    assert test.first == pytest.approx(0.760, abs=0.005)
    assert test.p > 0.001
