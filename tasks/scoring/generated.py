"""Metrics of generated samples: Fréchet distance, precision and recall of their features, and their spread.

Features are those of any network that was not trained with the generator. Distances are comparable only between equal
features and equal numbers of samples: fewer samples give a larger Fréchet distance of the same distributions.
"""

from __future__ import annotations

import numpy as np

_CHUNK = 1024  # rows of a matrix of distances


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared Fréchet distance of the Gaussians with the means and covariances of two sets of features.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), as in GANs Trained by a Two Time-Scale Update Rule, Heusel et al. 2017,
    https://arxiv.org/abs/1706.08500, who take features of Inception and call it FID.

    Args:
        first: (N, C).
        second: (M, C).

    Raises:
        ValueError: a set has fewer than two samples.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"the sets have {len(first)} and {len(second)} samples; a covariance needs two or more in each."
        )
    first, second = first.astype(np.float64), second.astype(np.float64)
    of_first, of_second = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second))
    # tr (S1 S2)^(1/2) by the eigenvalues of a symmetric matrix, which are real; rounding makes some zeros negative
    values, vectors = np.linalg.eigh(of_first)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ of_second @ root).clip(min=0)).sum()
    shift = first.mean(axis=0) - second.mean(axis=0)
    return max(0.0, float(shift @ shift + np.trace(of_first) + np.trace(of_second) - 2 * cross))


def precision_recall(real: np.ndarray, generated: np.ndarray, neighbors: int = 3) -> tuple[float, float]:
    """Return improved precision and recall: the share of each set that lies on the manifold of the other.

    Improved Precision and Recall Metric for Assessing Generative Models, Kynkäänniemi et al. 2019,
    https://arxiv.org/abs/1904.06991. The manifold of a set is the union of balls around its samples, each up to the
    k-th nearest other sample. Precision falls with implausible samples, recall with missing kinds of samples.

    Args:
        real: (N, C) features of real samples.
        generated: (M, C) features of generated samples.
        neighbors: k; 3 in the paper.

    Returns:
        Precision and recall in 0..1.

    Raises:
        ValueError: a set has no more than k samples.
    """
    if min(len(real), len(generated)) <= neighbors:
        raise ValueError(
            f"the sets have {len(real)} and {len(generated)} samples; expected more than the {neighbors} neighbors in "
            "each."
        )
    return _share_inside(generated, real, neighbors), _share_inside(real, generated, neighbors)


def within_class_spread(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the root mean squared distance of samples from the mean of their class.

    It is 0 if all samples of each class are alike, however different the classes are.

    Args:
        features: (N, C).
        labels: (N,) int.
    """
    features = features.astype(np.float64)
    squares = [((features[rows] - features[rows].mean(axis=0)) ** 2).sum() for rows in _rows_by_class(labels)]
    return float(np.sqrt(sum(squares) / max(1, len(features))))


def _rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _share_inside(samples: np.ndarray, others: np.ndarray, neighbors: int) -> float:
    """Return the share of `samples` within the manifold of `others`."""
    radii = np.concatenate([np.partition(rows, neighbors, axis=1)[:, neighbors] for rows in _distances(others, others)])
    return float(np.concatenate([(rows <= radii).any(axis=1) for rows in _distances(samples, others)]).mean())


def _distances(first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Return squared Euclidean distances, (rows, M) for each chunk of rows of `first`."""
    center = second.mean(axis=0, dtype=np.float64)  # or features far from 0 lose their digits
    second = second - center
    norms = (second**2).sum(axis=1)
    chunks = (first[start : start + _CHUNK] - center for start in range(0, len(first), _CHUNK))
    return [((x**2).sum(axis=1)[:, None] + norms - 2 * x @ second.T).clip(min=0) for x in chunks]
