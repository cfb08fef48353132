"""How well the borders of the classes are met.

Boundary F1 as in What is a good evaluation measure for semantic segmentation?, Csurka et al. 2013,
https://www.bmva-archive.org.uk/bmvc/2013/Papers/paper0032/paper0032.pdf, but counted over all images; the distance is
the larger one of rows and columns, and not the Euclidean one, so that a GPU finds it by pooling.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

TOLERANCE = 0.0075  # part of the image's diagonal, as in the paper


class BoundaryCounts(NamedTuple):
    """Pixels on the borders of each class, (K,) int64.

    Attributes:
        predicted_right: of the prediction's, those near the truth's.
        predicted: all of the prediction's.
        true_found: of the truth's, those near the prediction's.
        true: all of the truth's.
    """

    predicted_right: np.ndarray
    predicted: np.ndarray
    true_found: np.ndarray
    true: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """(K,) float64, harmonic mean of precision and recall; NaN for a class without any border."""
        precision = self.predicted_right / np.maximum(self.predicted, 1)
        recall = self.true_found / np.maximum(self.true, 1)
        mean = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
        return np.where(self.predicted + self.true > 0, mean, np.nan)


def boundary_counts(labels: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    """Count the border pixels of one image.

    A pixel is on the border of its class where one of its eight neighbors is labeled and of another class. Ignored
    pixels are on no border and make none: the prediction is ignored there, too.

    Args:
        labels: (H, W) int64 in 0..K-1, the prediction.
        mask: (H, W) int64 in 0..K-1 or `IGNORE_INDEX`, the truth.
        num_classes: K.

    Returns:
        (4, K) int64, in the order of `BoundaryCounts`.
    """
    known = mask != IGNORE_INDEX
    height, width = mask.shape
    reach = max(1, round(TOLERANCE * (height**2 + width**2) ** 0.5))
    kinds = torch.arange(num_classes, device=mask.device)[:, None, None]
    said, true = _border((labels == kinds) & known, known), _border((mask == kinds) & known, known)
    right, found = said & _widened(true, reach), true & _widened(said, reach)
    return torch.stack([part.sum(dim=(1, 2)) for part in (right, said, found, true)])


def _border(areas: Tensor, known: Tensor) -> Tensor:
    """Return the pixels of areas (K, H, W) that have a labeled neighbor outside of their area."""
    return areas & _widened(~areas & known, 1)


def _widened(areas: Tensor, reach: int) -> Tensor:
    """Return areas (K, H, W) bool with all pixels that are at most `reach` rows and columns away."""
    return F.max_pool2d(areas[None].float(), 2 * reach + 1, stride=1, padding=reach)[0] > 0
