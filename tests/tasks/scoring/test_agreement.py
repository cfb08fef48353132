import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from vertebra.tasks.scoring.agreement import Pairs, accuracy, balanced_accuracy, cohen_kappa, per_class_f1, rates


def drawn(seed, number=150, classes=4, present=None):
    """Truth and decisions that agree more often than by chance, of the classes that are present."""
    rng = np.random.default_rng(seed)
    present = np.arange(classes) if present is None else np.array(present)
    truth, other = rng.choice(present, number), rng.choice(present, number)
    return truth, np.where(rng.random(number) < 0.5, truth, other)


def matrix(truth, decided, classes=4):
    return Pairs(truth[:, None].astype(float), decided[:, None], classes).confusion()[0]


@pytest.mark.parametrize("present", [None, [0, 1], [0, 2, 3], [1]])
@pytest.mark.parametrize("seed", range(4))
def test_all_is_as_scikit_learn_says(seed, present):
    truth, decided = drawn(seed, present=present)
    confusion, labels = matrix(truth, decided), np.arange(4)
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(truth, decided, labels=labels))
    assert accuracy(confusion) == pytest.approx(sk.accuracy_score(truth, decided))
    f1 = per_class_f1(confusion)
    assert np.nanmean(f1) == pytest.approx(sk.f1_score(truth, decided, average="macro"))
    there = np.unique(truth)
    np.testing.assert_allclose(f1[there], sk.f1_score(truth, decided, average=None, labels=there))
    assert np.isnan(np.delete(f1, there)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, where there is a single class
        assert balanced_accuracy(confusion) == pytest.approx(sk.balanced_accuracy_score(truth, decided))
        for weights in (None, "quadratic"):
            theirs = sk.cohen_kappa_score(truth, decided, labels=labels, weights=weights)
            ours = cohen_kappa(confusion, quadratic=weights is not None)
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_a_far_error_weighs_more_where_classes_have_an_order():
    truth = np.repeat(np.arange(4), 10)
    near, far = truth.copy(), truth.copy()
    near[0], far[0] = 1, 3
    assert cohen_kappa(matrix(truth, near)) == pytest.approx(cohen_kappa(matrix(truth, far)), abs=0.005)
    assert cohen_kappa(matrix(truth, near), quadratic=True) > cohen_kappa(matrix(truth, far), quadratic=True) + 0.05


def test_a_class_that_is_only_decided_for_has_an_f1_of_zero():
    confusion = matrix(np.array([0, 0, 1]), np.array([0, 2, 1]))
    np.testing.assert_allclose(per_class_f1(confusion), [2 / 3, 1, 0, np.nan])
    assert balanced_accuracy(confusion) == 0.75


@pytest.mark.parametrize("seed", range(3))
def test_rates_are_recalls_and_precisions_of_both_sides(seed):
    truth, decided = drawn(seed, classes=2)
    point = rates(matrix(truth, decided, 2))
    assert point.sensitivity == pytest.approx(sk.recall_score(truth, decided))
    assert point.specificity == pytest.approx(sk.recall_score(truth, decided, pos_label=0))
    assert point.ppv == pytest.approx(sk.precision_score(truth, decided))
    assert point.npv == pytest.approx(sk.precision_score(truth, decided, pos_label=0))


def test_rates_of_nothing_are_undefined():
    never_called = rates(np.array([[8, 0], [2, 0]]))
    assert (never_called.sensitivity, never_called.specificity, never_called.npv) == (0, 1, 0.8)
    assert np.isnan(never_called.ppv)
    assert np.isnan(rates(np.array([[3, 1], [0, 0]])).sensitivity)
    for measure in (accuracy, balanced_accuracy, cohen_kappa):
        assert np.isnan(measure(np.zeros((3, 3), int)))


def test_many_matrices_are_measured_at_once():
    matrices = np.stack([matrix(*drawn(seed)) for seed in range(3)])
    for measure in (accuracy, balanced_accuracy, per_class_f1, cohen_kappa, lambda m: cohen_kappa(m, quadratic=True)):
        np.testing.assert_array_equal(measure(matrices), np.stack([measure(part) for part in matrices]))
    binary = np.stack([matrix(*drawn(seed, classes=2), 2) for seed in range(3)])
    np.testing.assert_array_equal(np.stack(rates(binary), axis=1), [rates(part) for part in binary])


def test_unknown_pairs_are_left_out_and_draws_count_rows_so_often():
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=(40, 3)).astype(float)
    truth[rng.random(truth.shape) < 0.3] = np.nan
    decided, times = rng.integers(2, size=(40, 3)), rng.poisson(1, size=40)
    pairs = Pairs(truth, decided, 2)
    for k in range(3):
        known = ~np.isnan(truth[:, k])
        np.testing.assert_array_equal(
            pairs.confusion()[k], sk.confusion_matrix(truth[known, k], decided[known, k], labels=[0, 1])
        )
        rows = np.repeat(np.arange(40), times * known)
        np.testing.assert_array_equal(
            pairs.confusion(times)[k], sk.confusion_matrix(truth[rows, k], decided[rows, k], labels=[0, 1])
        )
