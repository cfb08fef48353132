"""Data set and batches of images with one label each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.classification.transforms import Augment, Resize
from vertebra.tasks.loading.dataset import Missing, Read, TaskDataset, samples_of
from vertebra.tasks.loading.samplers import SampleRequest


class Sample(NamedTuple):
    """An image as the network sees it.

    Attributes:
        image: (H, W, C) uint8.
        label: in 0..K-1, or `UNLABELED`.
        position: index of the image in its split.
        name: such as its path.
        group: where it comes from (a patient, a camera); its name where that is unknown.
    """

    image: np.ndarray
    label: int
    position: int
    name: str
    group: str


class ClassificationBatch(NamedTuple):
    """The batch of a training or evaluation step.

    Attributes:
        images: (N, C, H, W) uint8, channels innermost in memory.
        labels: (N,) int64 in 0..K-1, -1 where unlabeled.
        indices: (N,) int64, index of each image in its split.
        names: one an image, such as its path.
        groups: one an image, where it comes from; its name where that is unknown.
        skipped: what could not be read, one message a file.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    names: list[str]
    groups: list[str]
    skipped: list[str]


class ClassificationDataset(TaskDataset[Sample]):
    """Reads, augments and resizes the images of one split.

    Args:
        images: images and labels.
        resize: to the size that the network sees.
        augment: for training, else None.
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
        image = self.resize(image) if self.augment is None or draw is None else self.augment(image, draw.seed)
        name = str(self.images.names[index])
        group = name if self.images.groups is None else str(self.images.groups[index])
        return Sample(image, int(self.images.labels[index]), index, name, group)

    def read_for_display(self, index: int) -> np.ndarray:
        """Return an image as a viewer shows it, (H, W, 3) uint8 RGB, whatever channels the network takes.

        Raises:
            UnreadableImage: its file is missing, cut short or no image.
        """
        return self.images.read_for_display(index)


def collate(reads: Sequence[Read[Sample]]) -> ClassificationBatch:
    """Stack images; a batch of which nothing could be read has none."""
    samples, skipped = samples_of(reads)
    pixels = np.stack([one.image for one in samples]) if samples else np.zeros((0, 0, 0, 3), dtype=np.uint8)
    return ClassificationBatch(
        images=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        indices=torch.tensor([sample.position for sample in samples], dtype=torch.int64),
        names=[sample.name for sample in samples],
        groups=[sample.group for sample in samples],
        skipped=skipped,
    )
