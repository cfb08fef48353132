import numpy as np
import pytest

from vertebra.tasks.scoring.generated import frechet_distance, precision_recall, within_class_spread


def with_moments(mean, covariance, number=400, seed=0):
    """Samples whose mean and covariance are exactly as given."""
    drawn = np.random.default_rng(seed).standard_normal((number, len(mean)))
    drawn -= drawn.mean(axis=0)
    whitened = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False))).T
    return whitened @ np.linalg.cholesky(np.array(covariance)).T + np.array(mean)


@pytest.mark.parametrize(
    ("mean", "covariance", "expected"),
    [
        ([0.0, 0.0], np.eye(2), 0.0),
        ([3.0, 4.0], np.eye(2), 25.0),
        ([0.0, 0.0], np.diag([4.0, 9.0]), 5.0),  # (2 - 1)^2 + (3 - 1)^2
        # eigenvalues 3 and 1: (sqrt 3 - 1)^2
        ([1.0, 0.0], [[2.0, 1.0], [1.0, 2.0]], 1 + (np.sqrt(3) - 1) ** 2),
    ],
)
def test_the_distance_of_known_gaussians(mean, covariance, expected):
    first, second = with_moments([0.0, 0.0], np.eye(2)), with_moments(mean, covariance, number=300, seed=1)
    assert frechet_distance(first, second) == pytest.approx(expected, abs=1e-9)
    assert frechet_distance(second, first) == pytest.approx(expected, abs=1e-9)


def test_the_distance_of_covariances_that_do_not_commute():
    one, other = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.5], [-0.5, 4.0]])
    # of 2 x 2 matrices, tr M^(1/2) = sqrt(tr M + 2 sqrt(det M))
    root = np.sqrt(np.trace(one @ other) + 2 * np.sqrt(np.linalg.det(one @ other)))
    found = frechet_distance(with_moments([0.0, 0.0], one), with_moments([0.0, 0.0], other, seed=1))
    assert found == pytest.approx(np.trace(one + other) - 2 * root, abs=1e-9)


def test_equal_sets_have_no_distance_also_with_fewer_samples_than_features():
    features = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert precision_recall(features, features) == (1.0, 1.0)


def test_disjoint_sets_have_neither_precision_nor_recall():
    rng = np.random.default_rng(0)
    assert precision_recall(rng.standard_normal((50, 4)), rng.standard_normal((60, 4)) + 100) == (0.0, 0.0)


@pytest.mark.parametrize("offset", [0, 1e4])
def test_a_missing_kind_costs_recall_and_an_implausible_one_precision(offset):
    rng = np.random.default_rng(0)
    kinds = np.repeat([[0.0, 0.0], [50.0, 0.0]], 50, axis=0) + rng.standard_normal((100, 2)) + offset
    half = kinds[:50]
    assert precision_recall(kinds, half) == (1.0, 0.5)
    assert precision_recall(half, kinds) == (0.5, 1.0)


def test_the_manifold_reaches_to_the_third_neighbor():
    real = np.arange(10.0)[:, None]  # within the range a radius is 2, at its ends 3
    assert precision_recall(real, np.array([[-3.0], [-3.1], [4.5], [12.0]]), 3)[0] == 0.75


def test_the_spread_is_that_within_classes():
    labels = np.array([0, 0, 1, 1])
    assert within_class_spread(np.array([[0.0], [0.0], [9.0], [9.0]]), labels) == 0
    assert within_class_spread(np.array([[1.0], [-1.0], [7.0], [11.0]]), labels) == pytest.approx(np.sqrt(10 / 4))


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="1 and 3 samples"):
        frechet_distance(np.zeros((1, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="3 and 9 samples"):
        precision_recall(np.zeros((3, 2)), np.zeros((9, 2)))
