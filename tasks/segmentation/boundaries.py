"""Boundary F1: agreement of class boundaries within a tolerance.

What is a good evaluation measure for semantic segmentation?, Csurka et al. 2013,
https://www.bmva-archive.org.uk/bmvc/2013/Papers/paper0032/paper0032.pdf. Two differences: counts are pooled over the
whole data set instead of averaged per image, and the distance is Chebyshev instead of Euclidean, which max pooling
computes on a GPU.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

TOLERANCE = 0.0075  # fraction of the image diagonal, as in the paper


class BoundaryCounts(NamedTuple):
    """Boundary pixel counts per class, each (K,) int64.

    Attributes:
        matched_predicted: predicted boundary pixels within the tolerance of a true one.
        predicted: all predicted boundary pixels.
        matched_true: true boundary pixels within the tolerance of a predicted one.
        true: all true boundary pixels.
    """

    matched_predicted: np.ndarray
    predicted: np.ndarray
    matched_true: np.ndarray
    true: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """(K,) float64, harmonic mean of precision and recall; NaN for a class without boundary pixels."""
        precision = self.matched_predicted / np.maximum(self.predicted, 1)
        recall = self.matched_true / np.maximum(self.true, 1)
        # the smallest normal float only replaces a denominator of 0, where the numerator is 0, too
        f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
        return np.where(self.predicted + self.true > 0, f1, np.nan)


def boundary_counts(labels: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    """Count the boundary pixels of one image.

    A boundary pixel has a labeled pixel of another class among its eight neighbors. Ignored pixels are excluded from
    both maps, in the prediction as well as in the ground truth.

    Args:
        labels: (H, W) int64 in 0..K-1, the prediction.
        mask: (H, W) int64 in 0..K-1 or `IGNORE_INDEX`, the ground truth.
        num_classes: K.

    Returns:
        (4, K) int64, in the order of `BoundaryCounts`.
    """
    labeled = mask != IGNORE_INDEX
    height, width = mask.shape
    # at least one pixel, since on a small image the paper's fraction rounds to 0
    radius = max(1, round(TOLERANCE * (height**2 + width**2) ** 0.5))
    classes = torch.arange(num_classes, device=mask.device)[:, None, None]
    predicted = _boundary_pixels((labels == classes) & labeled, labeled)
    true = _boundary_pixels((mask == classes) & labeled, labeled)
    matched_predicted, matched_true = predicted & _dilate(true, radius), true & _dilate(predicted, radius)
    return torch.stack([pixels.sum(dim=(1, 2)) for pixels in (matched_predicted, predicted, matched_true, true)])


def _boundary_pixels(regions: Tensor, labeled: Tensor) -> Tensor:
    """Return the pixels of each region (K, H, W) bool with a labeled neighbor outside the region."""
    # not an erosion: that would turn the image border and the rim of ignored areas into boundaries
    return regions & _dilate(~regions & labeled, 1)


def _dilate(regions: Tensor, radius: int) -> Tensor:
    """Dilate regions (K, H, W) bool by a square of side `2 * radius + 1`."""
    return F.max_pool2d(regions[None].float(), 2 * radius + 1, stride=1, padding=radius)[0] > 0
