"""Further training images of a sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vertebra.tasks.detection.transforms import LabeledImage
from vertebra.tasks.loading.files.faults import UnreadableFile


class FurtherImages:
    """Draws further images for one sample, uniformly from the whole split.

    Args:
        rng: random generator of the sample.
        size: number of images of the split.
        read: returns the image of an index, augmented by a seed.
        skips: whether an image that cannot be read is replaced by the next one that can.

    Attributes:
        indices: of the images that were drawn.
        skipped: messages about those that could not be read.
    """

    def __init__(
        self, rng: np.random.Generator, size: int, read: Callable[[int, int], LabeledImage], skips: bool
    ) -> None:
        self.rng = rng
        self.size = size
        self.read = read
        self.skips = skips
        self.indices: list[int] = []
        self.skipped: list[str] = []

    def __call__(self) -> LabeledImage:
        """Return another image.

        Raises:
            UnreadableFile: its file is missing or broken.
        """
        first, seed = int(self.rng.integers(self.size)), int(self.rng.integers(2**31))
        for step in range(self.size):
            index = (first + step) % self.size
            try:
                image = self.read(index, seed)
            except UnreadableFile as error:
                if not self.skips:
                    raise
                self.skipped.append(str(error))
            else:
                self.indices.append(index)
                return image
        raise UnreadableFile(f"{self.skipped[0]} None of the {self.size} images can be read.")
