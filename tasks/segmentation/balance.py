"""How often an image is drawn, by the classes that are in it."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.files.images import image_size
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks


def class_counts(records: LabeledMasks) -> np.ndarray:
    """Count the labeled pixels of each class in each image, (N, K) int64, by reading every mask.

    A mask that cannot be read has none: whether that is an error is for the one who reads it to train on it.
    """
    number = len(records.class_names)
    counts = np.zeros((len(records), number), dtype=np.int64)
    for index in range(len(records)):
        with suppress(UnreadableFile):
            labels = records.read_mask(index, image_size(str(records.images[index])))
            counts[index] = np.bincount(labels[labels != IGNORE_INDEX], minlength=number)
    return counts


def image_weights(records: LabeledMasks, strength: float = 1.0) -> list[float]:
    """Return how often each image is drawn beside the others.

    An image counts for its rarest class: the repeat factors of LVIS, Gupta et al. 2019,
    https://arxiv.org/abs/1908.03195, with the part of all images that hold a class in the place of a threshold. With
    full strength an image of a class that every tenth image holds is drawn ten times as often as one of common classes.

    Args:
        records: images with masks, all of which are read.
        strength: exponent on that ratio, in 0..1; 0.5 is that of LVIS.
    """
    present = class_counts(records) > 0
    shares = present.mean(axis=0)
    ratios = np.where(shares > 0, 1 / np.maximum(shares, 1 / max(1, len(records))), 1.0) ** strength
    return np.where(present, ratios, 1.0).max(axis=1).tolist()
