import numpy as np
import pytest
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from vertebra.tools.analyses.measures.mutual_information import (
    binned_continuous,
    binned_labels,
    gaussian_classes,
    gaussian_classes_bits,
    gaussian_pair,
    knn_continuous,
    knn_labels,
    with_interval,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("bits", "dims"), [(0, 1), (0.5, 1), (2, 1), (0, 2), (0.5, 2)])
def test_nearest_neighbors_find_the_information_of_gaussians(bits, dims, rng):
    x, y = gaussian_pair(bits, 600, dims, rng)
    found = with_interval(knn_continuous, x, y, repeats=10, seed=0)
    assert found.low <= bits <= found.high
    assert found.high - found.low < 0.6


def test_nearest_neighbors_miss_information_in_more_dimensions(rng):
    x, y = gaussian_pair(4, 600, 4, rng)
    assert 1 < knn_continuous(x, y) < 3.5


@pytest.mark.parametrize("spacing", [0, 1, 3])
def test_nearest_neighbors_find_the_information_about_classes(spacing, rng):
    x, labels = gaussian_classes(spacing, classes=4, count=600, dims=2, rng=rng)
    found = with_interval(knn_labels, x, labels, repeats=10, seed=0)
    assert found.low <= gaussian_classes_bits(spacing, 4) <= found.high
    assert found.high - found.low < 0.6


def test_information_of_gaussian_classes():
    assert gaussian_classes_bits(0, 4) == pytest.approx(0, abs=1e-6)
    assert gaussian_classes_bits(20, 4) == pytest.approx(2, abs=1e-6)  # classes without overlap: the entropy of Y
    # two classes with means -1 and 1: the capacity of a binary input at a signal-to-noise ratio of 1
    assert gaussian_classes_bits(2, 2) == pytest.approx(0.4859, abs=1e-3)


def test_correlated_gaussians_have_the_correlation_of_their_information(rng):
    x, y = gaussian_pair(1, 100_000, 2, rng)
    correlations = [np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(2)]
    assert -0.5 * np.log2(1 - np.square(correlations)).sum() == pytest.approx(1, abs=0.02)


def test_the_estimators_are_those_of_scikit_learn(rng):
    x, y = gaussian_pair(1, 200, 1, rng)
    expected = mutual_info_regression(x, y[:, 0], n_neighbors=3, random_state=0)[0] / np.log(2)
    assert knn_continuous(x, y) == pytest.approx(expected, abs=0.02)
    x, labels = gaussian_classes(1, classes=3, count=200, dims=1, rng=rng)
    expected = mutual_info_classif(x, labels, n_neighbors=3, random_state=0)[0] / np.log(2)
    assert knn_labels(x, labels) == pytest.approx(expected, abs=0.02)


def test_bins_of_a_variable_with_itself_and_with_its_labels():
    x = np.linspace(0, 1, 400)[:, None]
    assert binned_continuous(x, -x) == pytest.approx(2)  # the entropy of four bins
    assert binned_labels(x, np.arange(400) // 200) == pytest.approx(1)


def test_binning_is_biased_upwards_by_the_number_of_cells(rng):
    x, y = gaussian_pair(0, 400, 2, rng)
    # (cells - 1)^2 / 2N nats, 16 cells each
    assert binned_continuous(x, y) == pytest.approx(15**2 / 800 / np.log(2), rel=0.3)


def test_equal_values_and_labels_of_one_sample():
    x = np.zeros((40, 2))
    labels = np.arange(40) % 2
    labels[0] = 7
    assert knn_labels(x, labels) == pytest.approx(0, abs=0.4)
    assert binned_labels(x, labels) < 2
    assert np.isnan(knn_labels(x, np.arange(40)))
