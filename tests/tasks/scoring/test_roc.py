import numpy as np
import pytest
from sklearn import metrics as sk

from vertebra.tasks.scoring.roc import Ranking, rankings


def drawn(seed, number=200, classes=1, levels=None):
    """Truth and scores that have to do with each other; with `levels` many scores are equal."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((number, classes)) < 0.3).astype(float)
    scores = rng.normal(size=(number, classes)) + truth
    return truth, scores if levels is None else np.round(scores * levels) / levels


CASES = [(seed, levels) for seed in range(5) for levels in (None, 4, 1)]


@pytest.mark.parametrize(("seed", "levels"), CASES)
def test_areas_are_those_of_scikit_learn(seed, levels):
    truth, scores = (part[:, 0] for part in drawn(seed, levels=levels))
    curve = Ranking(truth, scores).curve()
    assert curve.auroc == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)
    assert curve.average_precision == pytest.approx(sk.average_precision_score(truth, scores), abs=1e-12)


@pytest.mark.parametrize(("seed", "levels"), CASES)
def test_curves_are_those_of_scikit_learn(seed, levels):
    truth, scores = (part[:, 0] for part in drawn(seed, levels=levels))
    curve = Ranking(truth, scores).curve()
    fpr, tpr, thresholds = sk.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    np.testing.assert_allclose(1 - curve.specificity, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.sensitivity, tpr, atol=1e-12)
    precision, recall, _ = sk.precision_recall_curve(truth, scores)
    np.testing.assert_allclose(curve.precision[::-1], precision, atol=1e-12)
    np.testing.assert_allclose(curve.sensitivity[::-1], recall, atol=1e-12)


@pytest.mark.parametrize(("seed", "levels"), CASES)
def test_a_draw_is_as_if_its_samples_were_there_so_often(seed, levels):
    truth, scores = (part[:, 0] for part in drawn(seed, levels=levels))
    ranking = Ranking(truth, scores)
    times = np.random.default_rng(seed + 100).poisson(1, size=len(truth))
    copied = np.repeat(np.arange(len(truth)), times)
    curve = ranking.curve(times)
    assert curve.auroc == pytest.approx(sk.roc_auc_score(truth[copied], scores[copied]), abs=1e-12)
    expected = sk.average_precision_score(truth[copied], scores[copied])
    assert curve.average_precision == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("levels", [None, 2])
def test_unknown_labels_are_as_if_they_were_not_there(levels):
    truth, scores = drawn(3, classes=4, levels=levels)
    unknown = np.random.default_rng(9).random(truth.shape) < 0.4
    masked = np.where(unknown, np.nan, truth)
    per_class = [ranking.curve() for ranking in rankings(masked, scores)]
    for k, curve in enumerate(per_class):
        known = ~unknown[:, k]
        assert curve.auroc == pytest.approx(sk.roc_auc_score(truth[known, k], scores[known, k]), abs=1e-12)
        expected = sk.average_precision_score(truth[known, k], scores[known, k])
        assert curve.average_precision == pytest.approx(expected, abs=1e-12)
    micro = Ranking(masked, scores)
    assert micro.curve().auroc == pytest.approx(sk.roc_auc_score(truth[~unknown], scores[~unknown]), abs=1e-12)
    times = np.random.default_rng(1).poisson(1, size=len(truth))
    weights = np.broadcast_to(times[:, None], truth.shape)[~unknown]
    expected = sk.roc_auc_score(truth[~unknown], scores[~unknown], sample_weight=weights)
    assert micro.curve(times).auroc == pytest.approx(expected, abs=1e-12)


def test_micro_and_macro_are_those_of_scikit_learn():
    truth, scores = drawn(4, classes=5, levels=3)
    each = [ranking.curve() for ranking in rankings(truth, scores)]
    for ours, theirs in (("auroc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        values = [getattr(curve, ours) for curve in each]
        np.testing.assert_allclose(values, theirs(truth, scores, average=None), atol=1e-12)
        assert np.mean(values) == pytest.approx(theirs(truth, scores, average="macro"), abs=1e-12)
        micro = getattr(Ranking(truth, scores).curve(), ours)
        assert micro == pytest.approx(theirs(truth, scores, average="micro"), abs=1e-12)


def test_the_area_is_the_part_of_pairs_in_order_with_ties_as_half():
    truth, scores = np.array([1, 1, 0, 0, 0.0]), np.array([3, 1, 1, 2, 0.0])
    assert Ranking(truth, scores).curve().auroc == (3 + 1 + 0.5) / 6
    assert Ranking(truth, np.zeros(5)).curve().auroc == 0.5
    assert Ranking(truth, truth).curve().auroc == 1
    assert Ranking(truth, -truth).curve().auroc == 0


@pytest.mark.parametrize("truth", [[], [0, 0], [np.nan, np.nan], [0, np.nan]])
def test_without_a_positive_sample_nothing_is_defined(truth):
    curve = Ranking(np.array(truth, float), np.arange(float(len(truth)))).curve()
    assert np.isnan(curve.auroc)
    assert np.isnan(curve.average_precision)
    assert np.isnan(curve.sensitivity).all()


def test_without_a_negative_sample_only_the_precision_is_defined():
    curve = Ranking(np.array([1.0, 1.0, np.nan]), np.array([0.1, 0.2, 0.3])).curve()
    assert np.isnan(curve.auroc)
    assert curve.average_precision == 1  # as scikit-learn says
    assert np.isnan(curve.specificity).all()
    assert curve.thresholds.tolist() == [np.inf, 0.2, 0.1]


def test_a_draw_without_a_side_is_undefined():
    ranking = Ranking(np.array([1.0, 0.0, 0.0]), np.array([0.3, 0.2, 0.1]))
    assert np.isnan(ranking.curve(np.array([0, 2, 1])).auroc)
    assert np.isnan(ranking.curve(np.array([3, 0, 0])).auroc)
    assert ranking.curve(np.array([1, 0, 2])).auroc == 1
