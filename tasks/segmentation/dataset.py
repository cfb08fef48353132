"""Dataset of images with masks, and collation into padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.loading.dataset import Read, TaskDataset, samples_of
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.files.image_source import ImageSource
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks
from vertebra.tasks.segmentation.transforms import Augment, Resize


class Sample(NamedTuple):
    """Input image and ground-truth mask.

    Attributes:
        image: (h, w, C) uint8, RGB by default.
        mask: (H, W) uint8, labels in 0..K-1 or 255; augmented with the image in training, at the file's size otherwise.
        position: index of the image in its split.
        name: path of the image file.
    """

    image: np.ndarray
    mask: np.ndarray
    position: int
    name: str


class SegmentationBatch(NamedTuple):
    """Padded batch of images and masks.

    Attributes:
        images: (N, C, H, W) uint8 in channels-last memory format, zero where padded.
        sizes: (N, 2) int64, height and width of each image without padding.
        masks: (N, H', W') uint8, labels in 0..K-1, 255 where unlabeled or padded.
        mask_sizes: (N, 2) int64, height and width of each mask without padding: equal to `sizes` in training; the size
            of the file in evaluation, where metrics are computed at full resolution.
        indices: (N,) int64, index of each image in its split.
        names: path of each image.
        skipped: one message per unreadable file.
    """

    images: Tensor
    sizes: Tensor
    masks: Tensor
    mask_sizes: Tensor
    indices: Tensor
    names: list[str]
    skipped: list[str]


class SegmentationDataset(TaskDataset[Sample]):
    """Semantic segmentation dataset: images with label masks.

    Args:
        records: images and masks of one split.
        resize: scaling to the network's input size in evaluation.
        augment: training augmentation; None for evaluation.
        missing: see `TaskDataset`.
        images: reader of the images by their path or name; files as a viewer shows them if not given.
    """

    def __init__(
        self,
        records: LabeledMasks,
        resize: Resize,
        augment: Augment | None = None,
        missing: Missing = "error",
        images: ImageSource | None = None,
    ) -> None:
        super().__init__(len(records), missing)
        self.records = records
        self.resize = resize
        self.augment = augment
        self.images = images or ImageSource()

    def read(self, index: int, draw: SampleRequest | None) -> Sample:
        file = str(self.records.images[index])
        image = self.images.read(file)
        mask = self.records.read_mask(index, image.shape[:2])
        if self.augment is not None and draw is not None:
            image, mask = self.augment(image, mask, draw.seed)
        else:
            image = self.resize(image)  # the mask keeps its size: resizing it would change the ground truth
        return Sample(image, mask, index, file)


def collate(reads: Sequence[Read[Sample]]) -> SegmentationBatch:
    """Pad images and masks to a common size and stack them; a batch without readable images has N = 0."""
    samples, skipped = samples_of(reads)
    channels = samples[0].image.shape[2] if samples else 3
    # padded masks are ignored by losses and metrics alike
    images, sizes = _pad([sample.image for sample in samples], (channels,), 0)
    masks, mask_sizes = _pad([sample.mask for sample in samples], (), IGNORE_INDEX)
    return SegmentationBatch(
        images=images.permute(0, 3, 1, 2),
        sizes=sizes,
        masks=masks,
        mask_sizes=mask_sizes,
        indices=torch.tensor([sample.position for sample in samples], dtype=torch.int64),
        names=[sample.name for sample in samples],
        skipped=skipped,
    )


def _pad(arrays: Sequence[np.ndarray], channels: tuple[int, ...], value: int) -> tuple[Tensor, Tensor]:
    """Stack arrays (h, w, *channels) into (N, H, W, *channels) uint8, and return their sizes (N, 2) int64."""
    sizes = np.array([array.shape[:2] for array in arrays], dtype=np.int64).reshape(-1, 2)
    height, width = sizes.max(axis=0).tolist() if arrays else (0, 0)
    padded = np.full((len(arrays), height, width, *channels), value, dtype=np.uint8)
    for target, array in zip(padded, arrays, strict=True):
        target[: array.shape[0], : array.shape[1]] = array  # at the top left, so that coordinates stay valid
    return torch.from_numpy(padded), torch.from_numpy(sizes)
