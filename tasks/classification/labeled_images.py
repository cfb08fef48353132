"""Labeled images of one split, as files on disk or pixels in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vertebra.tasks.loading.files.image_source import ImageSource
from vertebra.tasks.loading.files.images import VIEWED
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.labeled_files import LabeledFiles


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Images and their classes.

    Attributes:
        class_names: the K classes.
        names: (N,) str: paths of the files, or names of an archive's images.
        labels: (N,) int64 in 0..K-1, or `UNLABELED`.
        pixels: (N, H, W, 3) uint8 RGB where the images are no files of their own.
        rule: which channels of the files are seen, and in which range.
        groups: (N,) str, where each comes from (a patient, a camera), or None where that is unknown.
        given: images in memory by name, see `ImageSource`.
    """

    class_names: tuple[str, ...]
    names: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray | None = None
    rule: Pixels = field(default_factory=lambda: VIEWED)
    groups: np.ndarray | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        """Return one image, (H, W, C) uint8, RGB unless `rule` chooses other channels.

        Raises:
            UnreadableImage: its file is missing, cut short or no image.
        """
        if self.pixels is not None:
            return self.pixels[index]
        return ImageSource(self.rule, self.given).read(str(self.names[index]))

    def read_for_display(self, index: int) -> np.ndarray:
        """Return one image for a person to look at, (H, W, 3) uint8 RGB.

        Raises:
            UnreadableImage: its file is missing, cut short or no image.
        """
        if self.pixels is not None:
            return self.pixels[index]
        return ImageSource(self.rule, self.given).read_for_display(str(self.names[index]))

    def only(self, indices: np.ndarray) -> LabeledImages:
        """Return the images at `indices`."""
        pixels = None if self.pixels is None else self.pixels[indices]
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, names=self.names[indices], labels=self.labels[indices], pixels=pixels, groups=groups)


def from_files(files: LabeledFiles) -> LabeledImages:
    """Return labeled files as images."""
    return LabeledImages(files.class_names, files.names, files.labels, groups=files.groups)
