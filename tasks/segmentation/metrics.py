"""Scores of a segmenter over all pixels of all images of all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.loading.processes import all_gather
from vertebra.tasks.segmentation.boundaries import BoundaryCounts, boundary_counts
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX


@dataclass(frozen=True)
class SegmentationResults:
    """What a segmenter scored; a score is in 0..1, or NaN where there was nothing to score.

    Attributes:
        class_names: the K classes.
        indices: (N,) int64, place of each image in its split, ascending.
        matrices: (N, K, K) int64, pixels of each image; rows are the truth, columns the prediction. Ignored pixels are
            in none.
        boundaries: for each class, boundary pixels that were matched and that there are, over all images.
    """

    class_names: tuple[str, ...]
    indices: np.ndarray
    matrices: np.ndarray
    boundaries: BoundaryCounts

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) int64, pixels of all images."""
        return self.matrices.sum(axis=0)

    @property
    def per_class_iou(self) -> np.ndarray:
        """(K,) float64; NaN for a class that is neither in the truth nor in the prediction."""
        return ious(self.confusion)

    @property
    def per_class_dice(self) -> np.ndarray:
        """(K,) float64; NaN as for `per_class_iou`."""
        confusion = self.confusion
        return _ratio(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))

    @property
    def per_class_accuracy(self) -> np.ndarray:
        """(K,) float64, part of the pixels of each class that is found; NaN for a class without pixels."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes of which there is a pixel, in the truth or in the prediction."""
        return _mean(self.per_class_iou)

    @property
    def pixel_accuracy(self) -> float:
        """Part of the labeled pixels that is right."""
        return float(_ratio(np.diag(self.confusion).sum(), self.confusion.sum()))

    @property
    def per_image_miou(self) -> np.ndarray:
        """(N,) float64, the mean IoU of each image by itself; NaN where it has no labeled pixel."""
        return np.array([_mean(ious(matrix)) for matrix in self.matrices])

    def caveat(self) -> str | None:
        """Return which classes the scores leave out, or None where every class has pixels in the truth."""
        pixels = self.confusion.sum(axis=1).tolist()
        absent = [name for name, count in zip(self.class_names, pixels, strict=True) if not count]
        if not absent:
            return None
        scored = int(np.count_nonzero(~np.isnan(self.per_class_iou)))
        shown = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
        return (
            f"the mIoU is a mean over {scored} of {len(self.class_names)} classes: no pixel is labeled {shown}, so how "
            "well that is found was not measured."
        )

    def scores(self) -> dict[str, float]:
        """Return what is logged."""
        return {"miou": self.miou, "pixel_accuracy": self.pixel_accuracy}

    def headline(self) -> dict[str, float]:
        """Return the main numbers."""
        return {
            "mIoU": self.miou,
            "mean Dice": _mean(self.per_class_dice),
            "pixel accuracy": self.pixel_accuracy,
            "mean accuracy": _mean(self.per_class_accuracy),
            "boundary F1": _mean(self.boundaries.f1),
        }


class SegmentationMetric:
    """Counts pixels, and scores them.

    The counts stay where the network is until `compute`, so that an update does not wait for a GPU; they are kept for
    each image, so that the result is the same on one process and on many.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._indices: list[Tensor] = []
        self._matrices: list[Tensor] = []
        self._boundaries: list[Tensor] = []

    def update(self, labels: Tensor, masks: Tensor, indices: Tensor) -> None:
        """Add images.

        Args:
            labels: (N, H, W) integers in 0..K-1, the prediction.
            masks: (N, H, W) integers in 0..K-1 or `IGNORE_INDEX`, the truth.
            indices: (N,) int64, unique in the data set.

        Raises:
            ValueError: the shapes differ.
        """
        if labels.shape != masks.shape:
            raise ValueError(
                f"the prediction is {tuple(labels.shape)} and the truth {tuple(masks.shape)}; expected are the same "
                "pixels. Resize the prediction to the mask, never the mask."
            )
        number = len(self.class_names)
        for label, mask, index in zip(labels.long(), masks.long(), indices, strict=True):
            # ignored pixels get a bin of their own: selecting the others would wait for the GPU, as would bincount
            pairs = torch.where(mask == IGNORE_INDEX, number * number, mask * number + label).flatten()
            counts = pairs.new_zeros(number * number + 1).scatter_add_(0, pairs, torch.ones_like(pairs))
            self._matrices.append(counts[:-1].view(number, number))
            self._boundaries.append(boundary_counts(label, mask, number))
            self._indices.append(index)

    def reset(self) -> None:
        """Forget all images."""
        self._indices, self._matrices, self._boundaries = [], [], []

    def compute(self) -> SegmentationResults:
        """Score the images of all processes; every process must call this, and each gets the same results."""
        number = len(self.class_names)
        parts = [
            (int(index), matrix.cpu().numpy(), counts.cpu().numpy())
            for index, matrix, counts in zip(self._indices, self._matrices, self._boundaries, strict=True)
        ]
        images = {index: (matrix, counts) for index, matrix, counts in all_gather(parts)}
        order = sorted(images)
        matrices = np.array([images[index][0] for index in order], dtype=np.int64).reshape(-1, number, number)
        counts = np.array([images[index][1] for index in order], dtype=np.int64).reshape(-1, 4, number)
        return SegmentationResults(
            self.class_names, np.array(order, dtype=np.int64), matrices, BoundaryCounts(*counts.sum(axis=0))
        )


def ious(confusion: np.ndarray) -> np.ndarray:
    """Return the IoU (K,) of each class of a confusion matrix (K, K); NaN where the class has no pixel at all."""
    both = np.diag(confusion)
    return _ratio(both, confusion.sum(axis=0) + confusion.sum(axis=1) - both)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
