"""Dataset of labeled images, and collation into batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.classification.transforms import Augment, Resize
from vertebra.tasks.loading.dataset import Read, TaskDataset, samples_of
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.samplers import SampleRequest


class Sample(NamedTuple):
    """Preprocessed image with its label.

    Attributes:
        image: (H, W, C) uint8.
        label: class in 0..K-1, or `UNLABELED`.
        position: index of the image in its split.
        name: path of the image file, or name of the array entry.
        group: source of the image (patient, camera); its name if unknown.
    """

    image: np.ndarray
    label: int
    position: int
    name: str
    group: str


class ClassificationBatch(NamedTuple):
    """Batch of images with labels.

    Attributes:
        images: (N, C, H, W) uint8 in channels-last memory format.
        labels: (N,) int64 in 0..K-1, -1 if unlabeled.
        indices: (N,) int64, index of each image in its split.
        names: name of each image, such as its path.
        groups: source of each image; its name if unknown.
        skipped: one message per unreadable file.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    names: list[str]
    groups: list[str]
    skipped: list[str]


class ClassificationDataset(TaskDataset[Sample]):
    """Image classification dataset.

    Args:
        images: images and labels of one split.
        resize: scaling to the network's input size.
        augment: training augmentation; None for evaluation.
        missing: see `TaskDataset`.
    """

    def __init__(
        self, images: LabeledImages, resize: Resize, augment: Augment | None = None, missing: Missing = "error"
    ) -> None:
        super().__init__(len(images), missing)
        self.images = images
        self.resize = resize
        self.augment = augment

    def read(self, index: int, draw: SampleRequest | None) -> Sample:
        image = self.images.read(index)
        # without a draw, evaluation: the same pixels every time
        image = self.resize(image) if self.augment is None or draw is None else self.augment(image, draw.seed)
        name = str(self.images.names[index])
        group = name if self.images.groups is None else str(self.images.groups[index])
        return Sample(image, int(self.images.labels[index]), index, name, group)

    def read_for_display(self, index: int) -> np.ndarray:
        """Return an image for display, (H, W, 3) uint8 RGB whatever the network's input channels.

        Raises:
            UnreadableImage: the file is missing, truncated or no image.
        """
        return self.images.read_for_display(index)


def collate(reads: Sequence[Read[Sample]]) -> ClassificationBatch:
    """Stack samples; a batch without readable images has N = 0."""
    samples, skipped = samples_of(reads)
    pixels = np.stack([sample.image for sample in samples]) if samples else np.zeros((0, 0, 0, 3), dtype=np.uint8)
    return ClassificationBatch(
        # a permuted view, not a copy: the memory stays channels-last
        images=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        indices=torch.tensor([sample.position for sample in samples], dtype=torch.int64),
        names=[sample.name for sample in samples],
        groups=[sample.group for sample in samples],
        skipped=skipped,
    )
