import numpy as np
import pytest
from sklearn.metrics import roc_curve

from vertebra.tasks.scoring.conditions import conditions_of
from vertebra.tasks.scoring.operating_point import choose_thresholds, decide
from vertebra.tasks.scoring.roc import Ranking


def drawn(seed, number=60, levels=20):
    rng = np.random.default_rng(seed)
    truth = (rng.random(number) < 0.3).astype(float)
    return truth, np.round(levels / (1 + np.exp(-rng.normal(size=number) - truth))) / levels


def rates(truth, scores, threshold):
    called = scores >= threshold
    return called[truth == 1].mean(), (~called)[truth == 0].mean()


@pytest.mark.parametrize("seed", range(8))
def test_youdens_threshold_is_the_best_of_all(seed):
    truth, scores = drawn(seed)
    (threshold,) = choose_thresholds([Ranking(truth, scores).curve()])
    sums = {t: sum(rates(truth, scores, t)) for t in np.unique(scores)}
    assert sum(rates(truth, scores, threshold)) == pytest.approx(max(sums.values()))
    fpr, tpr, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    assert (tpr - fpr)[thresholds == threshold] == pytest.approx((tpr - fpr).max())


def test_of_equal_indices_the_one_that_finds_more_is_taken():
    truth, scores = np.array([1, 0, 1, 0.0]), np.array([0.9, 0.6, 0.4, 0.1])
    assert choose_thresholds([Ranking(truth, scores).curve()]) == [0.4]  # 0.9 has the same index
    assert choose_thresholds([Ranking(truth, 1 - scores).curve()]) == pytest.approx([0.1])  # useless, but finite


@pytest.mark.parametrize("sensitivity", [0.05, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_is_the_highest_that_is_sensitive_enough(seed, sensitivity):
    truth, scores = drawn(seed)
    (threshold,) = choose_thresholds([Ranking(truth, scores).curve()], sensitivity)
    assert rates(truth, scores, threshold)[0] >= sensitivity
    higher = scores[scores > threshold]
    assert not len(higher) or rates(truth, scores, higher.min())[0] < sensitivity


@pytest.mark.parametrize("number", [20, 50, 100])
def test_a_sensitivity_that_is_met_exactly_is_met(number):
    scores = np.arange(number + 1)[::-1] / (number + 1)
    truth = np.append(np.ones(number), 0)
    for found in range(1, number + 1):
        (threshold,) = choose_thresholds([Ranking(truth, scores).curve()], float(f"{found / number:.2f}"))
        assert (scores >= threshold).sum() == found


def test_each_condition_has_its_threshold_and_undefined_curves_one_half():
    truth = np.array([[1, 0, 1, np.nan], [0, 0, 1, 1], [0, 0, 1, 0]], float)
    scores = np.array([[0.3, 0.3, 0.2, 0.9], [0.2, 0.2, 0.3, 0.7], [0.1, 0.1, 0.1, 0.2]])
    curves = [Ranking(*column).curve() for column in zip(truth.T, scores.T, strict=True)]
    assert choose_thresholds(curves).tolist() == [0.3, 0.5, 0.5, 0.7]
    assert choose_thresholds(curves, 0.9).tolist() == [0.3, 0.5, 0.5, 0.7]


@pytest.mark.parametrize("sensitivity", [0, -0.1, 1.1, 90])
def test_a_sensitivity_is_a_part(sensitivity):
    with pytest.raises(ValueError, match=f"sensitivity is {sensitivity}; expected the fraction"):
        choose_thresholds([], sensitivity)


def test_decisions():
    two = np.array([[0.7, 0.3], [0.75, 0.25], [0.1, 0.9]])
    assert decide(two, np.array([0.3]), exclusive=True).tolist() == [1, 0, 1]
    assert decide(two, np.array([0.5]), exclusive=True).tolist() == [0, 0, 1]
    assert decide(two, np.array([0.7, 0.3]), exclusive=False).tolist() == [[1, 1], [1, 0], [0, 1]]
    three = np.array([[0.4, 0.35, 0.25], [0.1, 0.2, 0.7]])
    assert decide(three, np.array([0.9, 0.1, 0.9]), exclusive=True).tolist() == [0, 2]


def test_conditions_of_each_kind_of_labels():
    probs = np.array([[0.2, 0.8], [0.6, 0.4]])
    binary = conditions_of(np.array([1, 0]), probs)
    assert binary.classes.tolist() == [1]
    assert binary.truth.tolist() == [[1], [0]]
    assert binary.probs.tolist() == [[0.8], [0.4]]
    findings = conditions_of(np.array([[1, np.nan], [0, 1]]), probs)
    assert findings.classes.tolist() == [0, 1]
    np.testing.assert_array_equal(findings.truth, [[1, np.nan], [0, 1]])
    three = conditions_of(np.array([2, 0]), np.full((2, 3), 1 / 3))
    assert three.classes.tolist() == [0, 1, 2]
    assert three.truth.tolist() == [[0, 0, 1], [1, 0, 0]]
