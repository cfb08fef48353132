"""Pixels of each class in each image."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.files.image_headers import image_size
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks


def class_counts(records: LabeledMasks) -> np.ndarray:
    """Count the labeled pixels of each class in each image, (N, K) int64, by reading every mask.

    A mask that cannot be read counts as empty: whether that is an error is decided where it is trained on.
    """
    number = len(records.class_names)
    counts = np.zeros((len(records), number), dtype=np.int64)
    for index in range(len(records)):
        with suppress(UnreadableFile):
            labels = records.read_mask(index, image_size(str(records.images[index])))
            counts[index] = np.bincount(labels[labels != IGNORE_INDEX], minlength=number)
    return counts
