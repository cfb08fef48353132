"""The images of one split as samples, and samples as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tasks.classification.labelled_images import LabelledImages
from tasks.classification.transforms import Augment, Resize
from tasks.images import UnreadableImage
from tasks.samplers import Draw


class Sample(NamedTuple):
    """An image as the network sees it, and where it comes from; `image` is None where the file cannot be read."""

    image: np.ndarray | None
    label: int
    place: int
    name: str
    skipped: tuple[str, ...]


class ClassificationBatch(NamedTuple):
    """What a step of training or evaluation gets.

    Attributes:
        images: (N, 3, H, W) uint8, channels innermost in memory.
        labels: (N,) int64 in 0..K-1, -1 where nobody told.
        indices: (N,) int64, place of each image in its split.
        names: one an image, such as its path.
        skipped: what could not be read, one message a file.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    names: list[str]
    skipped: list[str]


class ClassificationDataset(Dataset[Sample]):
    """Reads, augments and resizes the images of one split.

    Args:
        images: images and labels.
        resize: to the size that the network sees.
        augment: for training, else None.
        missing: `error` stops at a file that cannot be read; `skip` puts another image in its place in training, and
            leaves it out in evaluation.
    """

    def __init__(
        self,
        images: LabelledImages,
        resize: Resize,
        augment: Augment | None = None,
        missing: Literal["error", "skip"] = "error",
    ) -> None:
        self.images = images
        self.resize = resize
        self.augment = augment
        self.missing = missing

    def __len__(self) -> int:
        return self.images.size

    def __getitem__(self, draw: Draw | int) -> Sample:
        if isinstance(draw, int):  # evaluation: this image as it is, or none
            return self._read(draw)
        skipped: tuple[str, ...] = ()
        for step in range(len(self)):
            sample = self._read((draw.sample + step) % len(self), draw.seed)
            skipped += sample.skipped
            if sample.image is not None:
                return sample._replace(skipped=skipped)
        raise UnreadableImage(f"{skipped[0]} None of the {len(self)} images can be read.")

    def _read(self, index: int, seed: int | None = None) -> Sample:
        label, name = int(self.images.labels[index]), str(self.images.names[index])
        try:
            image = self.images.read(index)
        except UnreadableImage as error:
            if self.missing == "skip":
                return Sample(None, label, index, name, (str(error),))
            raise UnreadableImage(f"{error} Or leave such files out with data.missing=skip.") from None
        image = self.resize(image) if self.augment is None or seed is None else self.augment(image, seed)
        return Sample(image, label, index, name, ())


def collate(samples: Sequence[Sample]) -> ClassificationBatch:
    """Stack images; a batch of which nothing could be read has none."""
    read = [sample for sample in samples if sample.image is not None]
    images = [sample.image for sample in read if sample.image is not None]
    pixels = np.stack(images) if images else np.zeros((0, 0, 0, 3), dtype=np.uint8)
    return ClassificationBatch(
        images=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        labels=torch.tensor([sample.label for sample in read], dtype=torch.int64),
        indices=torch.tensor([sample.place for sample in read], dtype=torch.int64),
        names=[sample.name for sample in read],
        skipped=[message for sample in samples for message in sample.skipped],
    )
