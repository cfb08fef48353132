"""Estimators of mutual information from samples, in bits: by nearest neighbors, and by binning."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.spatial import cKDTree
from scipy.special import digamma
from scipy.stats import t as student

Values = NDArray[np.float64]
Estimator = Callable[[Values, np.ndarray], float]

NEIGHBORS = 3  # the recommendation of Kraskov et al.; more lower the variance and raise the bias
BINS = 4  # of each dimension
_JITTER = 1e-10  # relative; equal values, as of a channel that is never active, have no nearest neighbor


class Estimate(NamedTuple):
    """Mutual information in bits, with a 95% confidence interval."""

    value: float
    low: float
    high: float


def knn_continuous(x: Values, y: Values, k: int = NEIGHBORS) -> float:
    """Return I(X; Y) of two continuous variables, in bits.

    Estimating Mutual Information, Kraskov, Stögbauer and Grassberger 2003, https://arxiv.org/abs/cond-mat/0305641,
    algorithm 1 (KSG).

    Args:
        x: (N, D) samples.
        y: (N, E) samples.
        k: number of neighbors, less than N.
    """
    x, y = _prepared(x), _prepared(y)
    joint = np.hstack([x, y])
    distance = cKDTree(joint).query(joint, k + 1, p=np.inf)[0][:, k]
    radius = np.nextafter(distance, 0)  # strictly nearer than the k-th neighbor
    near_x, near_y = (cKDTree(z).query_ball_point(z, radius, p=np.inf, return_length=True) for z in (x, y))
    # the counts include the point itself, as the + 1 of the paper
    nats = digamma(k) + digamma(len(x)) - (digamma(near_x) + digamma(near_y)).mean()
    return float(nats / np.log(2))


def knn_labels(x: Values, labels: np.ndarray, k: int = NEIGHBORS) -> float:
    """Return I(X; Y) of a continuous and a discrete variable, in bits.

    Mutual Information between Discrete and Continuous Data Sets, Ross 2014,
    https://doi.org/10.1371/journal.pone.0087357. Labels of a single sample are left out.

    Args:
        x: (N, D) samples.
        labels: (N,) values of Y.
        k: number of neighbors of the same label; fewer for a label with fewer samples.
    """
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    kept = counts[inverse] > 1
    if not kept.any():
        return np.nan
    x, inverse = _prepared(x)[kept], inverse[kept]
    radius, neighbors = np.zeros(len(x)), np.zeros(len(x))
    for label in range(len(names)):
        rows = inverse == label
        if not rows.any():
            continue
        neighbors[rows] = number = min(k, int(rows.sum()) - 1)
        distance = cKDTree(x[rows]).query(x[rows], number + 1, p=np.inf)[0][:, number]
        radius[rows] = np.nextafter(distance, 0)
    within = cKDTree(x).query_ball_point(x, radius, p=np.inf, return_length=True)
    sizes = counts[inverse]
    nats = digamma(len(x)) + digamma(neighbors).mean() - digamma(sizes).mean() - digamma(within).mean()
    return float(nats / np.log(2))


def binned_continuous(x: Values, y: Values) -> float:
    """Return I(X; Y) of two variables (N, D) and (N, E) in bins of equal numbers of samples, in bits."""
    return _plug_in(_cells(x), _cells(y))


def binned_labels(x: Values, labels: np.ndarray) -> float:
    """Return I(X; Y) of a variable (N, D) in bins of equal numbers of samples and labels (N,), in bits."""
    return _plug_in(_cells(x), np.unique(labels, return_inverse=True)[1])


def with_interval(estimator: Estimator, x: Values, y: np.ndarray, repeats: int, seed: int) -> Estimate:
    """Return the estimate on all samples, with an interval by repeats on random halves.

    The standard error on N samples is about the standard deviation of estimates on halves without replacement (delete-d
    jackknife, Shao and Wu 1989, https://doi.org/10.1214/aos/1176347263, with d = N / 2); a bootstrap would repeat
    samples, which breaks nearest neighbors. The interval is that of the noise, and has the estimator's bias.

    Args:
        estimator: one of this module.
        x: (N, D) samples.
        y: (N, E) samples or (N,) labels.
        repeats: number of halves, at least 2.
        seed: of the halves.
    """
    rng = np.random.default_rng(seed)
    halves = [rng.permutation(len(x))[: len(x) // 2] for _ in range(repeats)]
    error = np.std([estimator(x[rows], y[rows]) for rows in halves], ddof=1)
    value, width = estimator(x, y), float(student.ppf(0.975, repeats - 1) * error)
    return Estimate(value, value - width, value + width)


def gaussian_pair(bits: float, count: int, dims: int, rng: np.random.Generator) -> tuple[Values, Values]:
    """Draw two Gaussian variables (N, D) whose coordinates are correlated in pairs, with I(X; Y) = `bits`."""
    correlation = np.sqrt(1 - 2 ** (-2 * bits / dims))  # of each pair: I = -1/2 log2(1 - r^2)
    x, noise = rng.standard_normal((2, count, dims))
    return x, correlation * x + np.sqrt(1 - correlation**2) * noise


def gaussian_classes(
    spacing: float, classes: int, count: int, dims: int, rng: np.random.Generator
) -> tuple[Values, np.ndarray]:
    """Draw normal samples (N, D) and labels (N,); the means of the classes are `spacing` apart on the first axis."""
    labels = np.arange(count) % classes
    x = rng.standard_normal((count, dims))
    x[:, 0] += spacing * labels
    return x, labels


def gaussian_classes_bits(spacing: float, classes: int) -> float:
    """Return I(X; Y) of `gaussian_classes` in bits, by numerical integration of the entropy of the mixture."""
    means = spacing * np.arange(classes)

    def integrand(x: float) -> float:
        density = float(np.exp(-((x - means) ** 2) / 2).mean() / np.sqrt(2 * np.pi))
        return -density * np.log2(density) if density > 0 else 0.0

    entropy = quad(integrand, -10, means[-1] + 10, limit=500, points=means.tolist())[0]
    return float(entropy - 0.5 * np.log2(2 * np.pi * np.e))


def _prepared(x: Values) -> Values:
    """Scale each column to unit variance, and separate equal values by noise that is far below the resolution."""
    x = np.asarray(x, dtype=np.float64)
    scale = x.std(axis=0)
    x = x / np.where(scale > 0, scale, 1)
    return x + _JITTER * np.random.default_rng(0).standard_normal(x.shape)


def _cells(x: Values) -> np.ndarray:
    """Return the number of the cell of each sample of (N, D): `BINS` bins of equal counts in each dimension."""
    ranks = _prepared(x).argsort(axis=0).argsort(axis=0)
    bins = ranks * BINS // len(x)
    return np.unique(bins, axis=0, return_inverse=True)[1].reshape(-1)


def _plug_in(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mutual information of the empirical distribution of two labels (N,), in bits."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / expected[seen])).sum())
