"""The images of one split with the files of their masks, and what the values in those files mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tasks.faults import UnreadableFile
from tasks.segmentation.ignore import IGNORE_INDEX
from tasks.segmentation.mask_files import read_values

UNKNOWN = -1  # label of a value that stands for no class


class Coding(NamedTuple):
    """What the values of a mask file stand for.

    Attributes:
        class_names: the K classes.
        table: (256,) int16, value -> label in 0..K-1, `IGNORE_INDEX`, or `UNKNOWN`.
    """

    class_names: tuple[str, ...]
    table: np.ndarray


def coding(class_names: Sequence[str], values: Mapping[int, int] | None = None, ignored: Sequence[int] = ()) -> Coding:
    """Build a coding.

    Args:
        class_names: the K classes.
        values: value in the file -> label; None for value k standing for class k.
        ignored: values of pixels that nobody has labelled; 255 is one of them unless it stands for a class.

    Raises:
        ValueError: a value does not fit into 8 bits, is ignored and a class at once, or a label is not in 0..K-1.
    """
    labels = dict(enumerate(range(len(class_names)))) if values is None else dict(values)
    wrong = [value for value in (*labels, *ignored) if not 0 <= value <= 255]
    wrong += [value for value, label in labels.items() if not 0 <= label < len(class_names) or value in ignored]
    if wrong:
        raise ValueError(
            f"the values {sorted(set(wrong))} of the masks cannot be used with {len(class_names)} classes; expected "
            "are values in 0..255, each for one class or ignored. Mend data.ignored or the list of classes."
        )
    table = np.full(256, UNKNOWN, dtype=np.int16)
    table[IGNORE_INDEX] = IGNORE_INDEX
    table[list(ignored)] = IGNORE_INDEX
    for value, label in labels.items():
        table[value] = label
    return Coding(tuple(class_names), table)


class LabelledMasks(NamedTuple):
    """Images and the files of their masks.

    Attributes:
        coding: what the values in the files mean.
        images: (N,) str, paths.
        masks: (N,) str, paths; empty for an image without a mask.
    """

    coding: Coding
    images: np.ndarray
    masks: np.ndarray

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K classes, in the order of their labels."""
        return self.coding.class_names

    @property
    def size(self) -> int:
        """N; the length of a named tuple is that of its fields."""
        return len(self.images)

    def only(self, indices: np.ndarray) -> LabelledMasks:
        """Return the images at `indices`."""
        return self._replace(images=self.images[indices], masks=self.masks[indices])

    def read_mask(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """Return the labels of an image.

        Args:
            index: which.
            size: height and width of the image, which the mask must have.

        Returns:
            (H, W) uint8 in 0..K-1 or `IGNORE_INDEX`; without a mask all are `IGNORE_INDEX`.

        Raises:
            UnreadableFile: the file is missing or broken, is of another size, or has values that stand for no class.
        """
        file = str(self.masks[index])
        if not file:
            return np.full(size, IGNORE_INDEX, dtype=np.uint8)
        values = read_values(file)
        if values.shape != tuple(size):
            raise UnreadableFile(
                f"{file}: the mask is {values.shape[1]} x {values.shape[0]} pixels (width x height), its image "
                f"{self.images[index]} is {size[1]} x {size[0]}. Put the mask of that image there."
            )
        labels = self.coding.table[values]
        unknown = labels == UNKNOWN
        if unknown.any():
            raise UnreadableFile(f"{file}: {told_unknown(values[unknown])}")
        return labels.astype(np.uint8)


def told_unknown(values: np.ndarray) -> str:
    """Say which values stand for no class, how often, and what to do; `values` (M,) are those."""
    found, counts = np.unique(values, return_counts=True)
    pairs = ", ".join(f"{value} ({count} pixels)" for value, count in zip(found[:8], counts[:8], strict=True))
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f"the values {pairs}{more} stand for no class. Name them in data.ignored, or add the class."
