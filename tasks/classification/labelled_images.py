"""The images of one split with their labels, wherever they lie: files on disk, or pixels in memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.images import read_image

UNLABELLED = -1


class LabelledImages(NamedTuple):
    """Images and their classes.

    Attributes:
        class_names: the K classes.
        names: (N,) str: paths of the files, or what an archive's images are called by.
        labels: (N,) int64 in 0..K-1, or `UNLABELLED`.
        pixels: (N, H, W, 3) uint8 RGB where the images are no files of their own.
    """

    class_names: tuple[str, ...]
    names: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray | None = None

    @property
    def size(self) -> int:
        """N; the length of a named tuple is that of its fields."""
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        """Return one image, (H, W, 3) uint8 RGB.

        Raises:
            UnreadableImage: its file is missing, cut short or no image.
        """
        return read_image(str(self.names[index])) if self.pixels is None else self.pixels[index]

    def only(self, indices: np.ndarray) -> LabelledImages:
        """Return the images at `indices`."""
        pixels = None if self.pixels is None else self.pixels[indices]
        return self._replace(names=self.names[indices], labels=self.labels[indices], pixels=pixels)


def divide(labels: np.ndarray, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a part of the samples, as large in every class; the same labels and seed give the same part.

    Args:
        labels: (N,) int64.
        fraction: size of the part, above 0 and below 1. A class of two or more gives one at least and keeps one.
        seed: of the draw.

    Returns:
        Indices of the rest and of the part, both ascending.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"val_fraction is {fraction}; give a part of the images, above 0 and below 1.")
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        taken[members[:count]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)
