"""The images of one split and where the truth about their pixels comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.segmentation.codings import UNKNOWN, Coding
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.mask_files import read_values


class WrongSize(UnreadableFile):
    """A mask that has not the size of its image."""


class UnknownValues(UnreadableFile):
    """A mask with values without a class."""


class Masks(ABC):
    """The truth about the pixels of N images."""

    @property
    def assumes_void(self) -> bool:
        """Whether 255 is ignored by default, see `Coding`."""
        return False

    @abstractmethod
    def read(self, index: int, image: str, size: tuple[int, int]) -> np.ndarray:
        """Return the labels of an image.

        Args:
            index: which.
            image: path of its file, for what there is to say.
            size: its height and width, which the mask must have.

        Returns:
            (H, W) uint8 in 0..K-1 or `IGNORE_INDEX`.

        Raises:
            UnreadableFile: the truth is missing or broken, is of another size, or has values without a class.
        """


@dataclass(frozen=True)
class MaskFiles(Masks):
    """A file for each image.

    Args:
        coding: what the values in the files mean.
        files: (N,) str, paths.
    """

    coding: Coding
    files: np.ndarray

    @property
    def assumes_void(self) -> bool:
        return self.coding.assumes_void

    def read(self, index: int, image: str, size: tuple[int, int]) -> np.ndarray:
        file = str(self.files[index])
        values = read_values(file, self.coding.in_color)
        check_size(file, (values.shape[0], values.shape[1]), image, size)
        labels = self.coding.labels(values)
        unknown = labels == UNKNOWN
        if unknown.any():
            raise UnknownValues(f"{file}: {self.coding.describe_unknown(values[unknown])}")
        # int16 up to here, for `UNKNOWN`
        return labels.astype(np.uint8)


@dataclass(frozen=True)
class ChosenMasks(Masks):
    """The masks of some of the images, such as those of a fold.

    Args:
        masks: of all images.
        indices: (N,) int64, which of them.
    """

    masks: Masks
    indices: np.ndarray

    @property
    def assumes_void(self) -> bool:
        return self.masks.assumes_void

    def read(self, index: int, image: str, size: tuple[int, int]) -> np.ndarray:
        return self.masks.read(int(self.indices[index]), image, size)


class NoMasks(Masks):
    """Unlabeled images: every pixel is ignored."""

    def read(self, index: int, image: str, size: tuple[int, int]) -> np.ndarray:
        return np.full(size, IGNORE_INDEX, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class LabeledMasks:
    """Images with the truth about their pixels.

    Attributes:
        class_names: the K classes, in the order of their labels.
        images: (N,) str, paths.
        masks: the truth.
    """

    class_names: tuple[str, ...]
    images: np.ndarray
    masks: Masks

    def __len__(self) -> int:
        return len(self.images)

    def read_mask(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """Return the labels of an image of `size`; see `Masks.read`."""
        return self.masks.read(index, str(self.images[index]), size)

    def only(self, indices: np.ndarray) -> LabeledMasks:
        """Return the images at `indices`."""
        return replace(self, images=self.images[indices], masks=ChosenMasks(self.masks, indices))


def check_size(mask: str, found: tuple[int, int], image: str, size: tuple[int, int]) -> None:
    """Refuse a mask that has not the size (height, width) of its image."""
    if found != tuple(size):
        raise WrongSize(
            f"{mask}: the mask is {found[1]} x {found[0]} pixels (width x height), its image {image} is "
            f"{size[1]} x {size[0]}. Put the mask of that image there."
        )
