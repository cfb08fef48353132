"""Segmentation metrics: IoU, Dice, accuracy and boundary F1 over a data set and all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.loading.processes import all_gather
from vertebra.tasks.scoring.confidence import ConfidenceCurves, curves_of_counts
from vertebra.tasks.segmentation.boundaries import BoundaryCounts, boundary_counts
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

_NUM_BINS = 20  # of probabilities below 1


@dataclass(frozen=True)
class SegmentationResults:
    """Segmentation scores, in 0..1, or NaN where undefined.

    Attributes:
        class_names: the K classes.
        indices: (N,) int64, index of each image in its split, ascending.
        matrices: (N, K, K) int64, confusion matrix of each image in pixels; rows are true, columns predicted classes.
            Ignored pixels are excluded.
        boundaries: boundary pixel counts per class over all images.
        confidences: (K, 21, 2) int64, wrong and right predictions of each class over all images, in pixels, by their
            probability: 0 to 0.05, ..., 0.95 to below 1, and 1. Zeros where no probabilities were given.
    """

    class_names: tuple[str, ...]
    indices: np.ndarray
    matrices: np.ndarray
    boundaries: BoundaryCounts
    confidences: np.ndarray

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) int64, confusion matrix over all images, in pixels."""
        return self.matrices.sum(axis=0)

    @property
    def per_class_iou(self) -> np.ndarray:
        """(K,) float64; NaN for a class that is neither labeled nor predicted."""
        return ious(self.confusion)

    @property
    def per_class_dice(self) -> np.ndarray:
        """(K,) float64; NaN as for `per_class_iou`."""
        confusion = self.confusion
        return ratio(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))

    @property
    def per_class_accuracy(self) -> np.ndarray:
        """(K,) float64, recall of each class; NaN for a class without labeled pixels."""
        return ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that are labeled or predicted."""
        return mean_of_defined(self.per_class_iou)

    @property
    def pixel_accuracy(self) -> float:
        """Fraction of labeled pixels that are classified correctly."""
        return float(ratio(np.diag(self.confusion).sum(), self.confusion.sum()))

    @property
    def per_image_miou(self) -> np.ndarray:
        """(N,) float64, mean IoU of each image; NaN for an image without labeled pixels."""
        return np.array([mean_of_defined(ious(matrix)) for matrix in self.matrices])

    def confidence_curves(self) -> ConfidenceCurves | None:
        """Return precision, recall and F1 of pixels over the confidence threshold; None without probabilities."""
        if not self.confidences.any():
            return None
        counts = self.confidences[:, ::-1].cumsum(axis=1)[:, ::-1]  # from each bin on
        kept, right = counts.sum(axis=2).T, counts[..., 1].T
        return curves_of_counts(np.linspace(0, 1, _NUM_BINS + 1), kept, right, self.confusion.sum(axis=1))

    def caveat(self) -> str | None:
        """Return a warning about classes without labeled pixels, or None if there are none."""
        pixels = self.confusion.sum(axis=1).tolist()
        absent = [name for name, count in zip(self.class_names, pixels, strict=True) if not count]
        if not absent:
            return None
        # an absent class that is predicted has an IoU of 0, and is part of the mean all the same
        scored = int(np.count_nonzero(~np.isnan(self.per_class_iou)))
        shown = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
        return (
            f"the mIoU is a mean over {scored} of {len(self.class_names)} classes: no pixel is labeled {shown}, so "
            "recall is undefined there."
        )

    def scores(self) -> dict[str, float]:
        """Return the logged metrics by name."""
        return {"miou": self.miou, "pixel_accuracy": self.pixel_accuracy}

    def label_counts(self) -> np.ndarray:
        """Return the number of labeled pixels of each class, (K,) int64."""
        return self.confusion.sum(axis=1)

    def headline(self) -> dict[str, float]:
        """Return the headline metrics of the report."""
        return {
            "mIoU": self.miou,
            "mean Dice": mean_of_defined(self.per_class_dice),
            "pixel accuracy": self.pixel_accuracy,
            "mean accuracy": mean_of_defined(self.per_class_accuracy),
            "boundary F1": mean_of_defined(self.boundaries.f1),
        }


class SegmentationMetric:
    """Accumulator of per-image confusion matrices and boundary counts.

    Counts stay on the device of the network until `compute`, so that `update` does not synchronize with a GPU. They are
    kept per image, so that samples repeated by a distributed sampler count once and the result does not depend on the
    number of processes.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._indices: list[Tensor] = []
        self._matrices: list[Tensor] = []
        self._boundaries: list[Tensor] = []
        self._confidences: list[Tensor] = []

    def update(self, labels: Tensor, masks: Tensor, indices: Tensor, scores: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            labels: (N, H, W) integers in 0..K-1, the prediction.
            masks: (N, H, W) integers in 0..K-1 or `IGNORE_INDEX`, the ground truth.
            indices: (N,) int64, index of each image in its split.
            scores: (N, H, W) float in 0..1, probability of the predicted class.

        Raises:
            ValueError: the shapes differ.
        """
        if labels.shape != masks.shape:
            raise ValueError(
                f"the prediction is {tuple(labels.shape)} and the mask {tuple(masks.shape)}; expected equal shapes. "
                "Resize the prediction to the mask, never the mask."
            )
        k = len(self.class_names)
        for i, (label, mask, index) in enumerate(zip(labels.long(), masks.long(), indices, strict=True)):
            # ignored pixels go into a bin of their own: boolean indexing and bincount would synchronize with the GPU
            pairs = torch.where(mask == IGNORE_INDEX, k * k, mask * k + label).flatten()
            counts = pairs.new_zeros(k * k + 1).scatter_add_(0, pairs, torch.ones_like(pairs))
            self._matrices.append(counts[:-1].view(k, k))
            self._boundaries.append(boundary_counts(label, mask, k))
            self._confidences.append(_confidences(label, mask, None if scores is None else scores[i], k))
            self._indices.append(index)

    def reset(self) -> None:
        """Discard all accumulated counts."""
        self._indices, self._matrices, self._boundaries, self._confidences = [], [], [], []

    def compute(self) -> SegmentationResults:
        """Return the results over all processes; a collective call with the same result on each."""
        k = len(self.class_names)
        parts: list[Any] = [
            (int(index), *(counts.cpu().numpy() for counts in of_image))
            for index, *of_image in zip(self._indices, self._matrices, self._boundaries, self._confidences, strict=True)
        ]
        # keyed by index: a distributed sampler pads the last batch with repeated samples
        images: dict[int, Any] = {part[0]: part[1:] for part in all_gather(parts)}
        order = sorted(images)
        matrices = np.array([images[index][0] for index in order], dtype=np.int64).reshape(-1, k, k)
        counts = np.array([images[index][1] for index in order], dtype=np.int64).reshape(-1, 4, k)
        confidences = np.array([images[index][2] for index in order], dtype=np.int64).reshape(-1, k, _NUM_BINS + 1, 2)
        return SegmentationResults(
            self.class_names,
            np.array(order, dtype=np.int64),
            matrices,
            BoundaryCounts(*counts.sum(axis=0)),
            confidences.sum(axis=0),
        )


def _confidences(label: Tensor, mask: Tensor, scores: Tensor | None, num_classes: int) -> Tensor:
    """Return the confidences of an image as `SegmentationResults` has them, int32 and on its device."""
    shape = num_classes, _NUM_BINS + 1, 2
    if scores is None:
        return label.new_zeros(shape, dtype=torch.int32)
    bins = (scores * _NUM_BINS).long().clamp(0, _NUM_BINS)
    cells = (label * (_NUM_BINS + 1) + bins) * 2 + (label == mask)
    size = shape[0] * shape[1] * shape[2]
    cells = torch.where(mask == IGNORE_INDEX, size, cells).flatten()  # ignored pixels into a bin of their own
    counts = cells.new_zeros(size + 1, dtype=torch.int32)
    return counts.scatter_add_(0, cells, torch.ones_like(cells, dtype=torch.int32))[:-1].view(shape)


def ious(confusion: np.ndarray) -> np.ndarray:
    """Return the per-class IoU (K,) of a confusion matrix (K, K); NaN for a class with an empty union."""
    intersection = np.diag(confusion)
    return ratio(intersection, confusion.sum(axis=0) + confusion.sum(axis=1) - intersection)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient of counts, NaN where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)


def mean_of_defined(values: np.ndarray) -> float:
    """Return the mean of what is not NaN, and NaN where nothing is left."""
    # not `nanmean`, which warns where there is no value
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
