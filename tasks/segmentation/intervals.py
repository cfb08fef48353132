"""95 % intervals of segmentation metrics over images, from the pixel counts of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vertebra.tasks.scoring.bootstrap import Interval, bootstrap
from vertebra.tasks.segmentation.metrics import mean_of_defined, ratio


def count_arrays(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Return the pixels of each image and class as arrays for a file, (N, K) int64 each.

    Args:
        matrices: (N, K, K) int64, confusion matrix of each image; rows are true classes.
    """
    right = np.diagonal(matrices, axis1=1, axis2=2)
    return {"right": right, "labeled": matrices.sum(axis=2), "predicted": matrices.sum(axis=1)}


def pixel_intervals(arrays: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    """Return the bootstrap interval over images of each logged metric, of the arrays of `count_arrays`."""
    right, labeled, predicted = arrays["right"], arrays["labeled"], arrays["predicted"]

    def scores(times: np.ndarray) -> dict[str, float]:
        hits, truth, found = times @ right, times @ labeled, times @ predicted
        iou = mean_of_defined(ratio(hits, truth + found - hits))
        return {"miou": iou, "pixel_accuracy": float(ratio(hits.sum(), truth.sum()))}

    return bootstrap(scores, np.arange(len(right)))
