"""Data set and batches of images with masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.loading.dataset import Missing, Read, TaskDataset, samples_of
from vertebra.tasks.loading.files.images import VIEWED, read_image
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks
from vertebra.tasks.segmentation.transforms import Augment, Resize


class Sample(NamedTuple):
    """An image as the network's input, and its mask.

    Attributes:
        image: (h, w, C) uint8, RGB unless `Pixels` chooses other channels.
        mask: (H, W) uint8, labels in 0..K-1 or 255: as augmented in training, else of the size of the image's file.
        position: index of the image in its split.
        name: path of its file.
    """

    image: np.ndarray
    mask: np.ndarray
    position: int
    name: str


class SegmentationBatch(NamedTuple):
    """The batch of a training or evaluation step.

    Attributes:
        images: (N, C, H, W) uint8, zero where padded; channels innermost in memory.
        sizes: (N, 2) int64, height and width of each image within its padding.
        masks: (N, H', W') uint8, labels in 0..K-1, 255 where unlabeled and where padded.
        mask_sizes: (N, 2) int64, height and width of each mask within its padding. In training they are those of the
            images; in evaluation those of the files, since a mask that is measured on is never resized.
        indices: (N,) int64, index of each image in its split.
        names: one an image.
        skipped: what could not be read, one message a file.
    """

    images: Tensor
    sizes: Tensor
    masks: Tensor
    mask_sizes: Tensor
    indices: Tensor
    names: list[str]
    skipped: list[str]


class SegmentationDataset(TaskDataset[Sample]):
    """Reads, augments and resizes the images of one split, and reads or rasterizes their masks.

    Args:
        records: images and masks.
        resize: to the size that the network sees in evaluation.
        augment: for training, else None.
        missing: see `TaskDataset`.
        pixels: which channels of the files are seen, and in which range.
    """

    def __init__(
        self,
        records: LabeledMasks,
        resize: Resize,
        augment: Augment | None = None,
        missing: Missing = "error",
        pixels: Pixels = VIEWED,
    ) -> None:
        super().__init__(len(records), missing)
        self.records = records
        self.resize = resize
        self.augment = augment
        self.pixels = pixels

    def read(self, index: int, draw: SampleRequest | None) -> Sample:
        file = str(self.records.images[index])
        image = read_image(file, self.pixels)
        mask = self.records.read_mask(index, image.shape[:2])
        if self.augment is not None and draw is not None:
            image, mask = self.augment(image, mask, draw.seed)
        else:
            image = self.resize(image)
        return Sample(image, mask, index, file)


def collate(reads: Sequence[Read[Sample]]) -> SegmentationBatch:
    """Pad images and masks to one size; a batch of which nothing could be read has none."""
    samples, skipped = samples_of(reads)
    channels = samples[0].image.shape[2] if samples else 3
    images, sizes = _padded([sample.image for sample in samples], (channels,), 0)
    masks, mask_sizes = _padded([sample.mask for sample in samples], (), IGNORE_INDEX)
    return SegmentationBatch(
        images=images.permute(0, 3, 1, 2),
        sizes=sizes,
        masks=masks,
        mask_sizes=mask_sizes,
        indices=torch.tensor([sample.position for sample in samples], dtype=torch.int64),
        names=[sample.name for sample in samples],
        skipped=skipped,
    )


def _padded(arrays: Sequence[np.ndarray], channels: tuple[int, ...], filling: int) -> tuple[Tensor, Tensor]:
    """Return arrays (h, w, *channels) as one tensor (N, H, W, *channels) uint8, and their sizes (N, 2)."""
    sizes = np.array([array.shape[:2] for array in arrays], dtype=np.int64).reshape(-1, 2)
    height, width = sizes.max(axis=0).tolist() if arrays else (0, 0)
    padded = np.full((len(arrays), height, width, *channels), filling, dtype=np.uint8)
    for row, array in zip(padded, arrays, strict=True):
        row[: array.shape[0], : array.shape[1]] = array
    return torch.from_numpy(padded), torch.from_numpy(sizes)
