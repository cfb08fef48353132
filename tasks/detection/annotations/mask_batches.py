"""Masks of a batch from the packed masks of its images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.parts.masks import MaskBatch


def batch_masks(masks: Sequence[PackedMasks], sizes: np.ndarray, count: int) -> MaskBatch:
    """Return the masks of a batch without unpacking them.

    Args:
        masks: of each image.
        sizes: (N, 2) int64, height and width of each image.
        count: that the masks of each image are padded to.
    """
    windows = np.zeros((len(masks), count, 4), dtype=np.int64)
    offsets = np.zeros((len(masks), count), dtype=np.int64)
    start = 0
    for i, of_image in enumerate(masks):
        windows[i, : len(of_image)] = of_image.windows
        offsets[i, : len(of_image)] = of_image.bits.ends[:-1] + start
        start += len(of_image.bits.values)
    bits = np.concatenate([*(of_image.bits.values for of_image in masks), np.zeros(1, dtype=np.uint8)])
    width, height = np.maximum(windows[..., 2:].reshape(-1, 2).max(axis=0), 1).tolist()
    return MaskBatch(
        torch.from_numpy(bits),
        torch.from_numpy(offsets),
        torch.from_numpy(windows),
        # a copy: a loader process moves each tensor of a batch to shared memory, and frees that of another behind it
        torch.from_numpy(sizes.copy()),
        (height, width),
    )
