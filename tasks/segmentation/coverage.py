"""The classes that the masks of a split label, and what makes a score over them meaningless."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile
from vertebra.tasks.loading.files.images import image_size
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks

_LEAST = 16  # masks that are read before training: enough to meet a second source of masks mixed into the first
_MOST = 200  # masks that are read in search of every class; a second class is searched for in all of them


class Coverage:
    """Counts of pixels and masks by class.

    Args:
        records: a split; its masks are given to `add`, or all of them to be read to `read_some`.
        title: name of the split in faults.

    Attributes:
        pixels: (K + 1,) int64, pixels of each class, and behind them those that are ignored.
        together: (K + 1, K + 1) int64, masks that hold pixels of both; on the diagonal those that hold any.
        num_masks: masks that were counted.
    """

    def __init__(self, records: LabeledMasks, title: str) -> None:
        self.records = records
        self.title = title
        number = len(records.class_names) + 1
        self.pixels = np.zeros(number, dtype=np.int64)
        self.together = np.zeros((number, number), dtype=np.int64)
        self.num_masks = 0

    def add(self, labels: np.ndarray) -> None:
        """Count a mask (H, W) uint8, labels in 0..K-1 or `IGNORE_INDEX`."""
        number = len(self.records.class_names)
        counts = np.bincount(np.where(labels == IGNORE_INDEX, number, labels).ravel(), minlength=number + 1)
        present = (counts > 0).astype(np.int64)
        self.pixels += counts
        self.together += present[:, None] * present
        self.num_masks += 1

    def read_some(self) -> None:
        """Read masks, spread over the split, until they have shown what training on them can learn.

        That takes a few masks of a sound data set. All are read only where there is something to report. A mask that
        cannot be read has no classes: whether that is an error is decided where it is trained on.
        """
        for index in np.random.default_rng(0).permutation(len(self.records)).tolist():
            with suppress(UnreadableFile):
                self.add(self.records.read_mask(index, image_size(str(self.records.images[index]))))
            is_full = bool((self.pixels[:-1] > 0).all()) or self.num_masks >= _MOST
            if self.num_masks >= _LEAST and is_full and not any(self.faults()):
                return

    def faults(self) -> Iterator[Fault]:
        """Yield what makes a score over these masks meaningless: 255 in place of a class, one class, or none at all."""
        names = self.records.class_names
        number, present = len(names), np.flatnonzero(self.pixels[:-1])
        if not self.num_masks:
            return
        if number == 1:
            message = f"{names[0]!r} is the only class, and a choice of one is always right; name the background, too."
            yield Fault(faults.ONE_CLASS, self.title, message)
        elif self.records.masks.assumes_void and self._is_in_place_of_a_class():
            share = self.pixels[-1] / self.pixels.sum()
            message = (
                f"{share:.1%} of the pixels are 255, which is ignored unless it is a class, and no mask holds 255 "
                "beside two classes, as masks do in which 255 is a border or a void region. If 255 is a class, let "
                f"data.classes (--classes of vertebra check) name a file with the lines {self._suggestion()}. If it is "
                "unlabeled, set data.ignored=[255] (--ignored 255)."
            )
            yield Fault(faults.IGNORED_CLASS, self.title, message)
        elif not len(present):
            message = f"all pixels of {self.num_masks} masks are ignored; there is nothing to learn or to measure."
            yield Fault(faults.NO_LABELS, self.title, f"{message} Label some, or correct data.ignored.")
        elif len(present) == 1:
            message = (
                f"all labeled pixels of {self.num_masks} masks are of class {names[present[0]]!r}; a score over one "
                f"class of {number} says nothing. Add masks of the others, or correct data.classes."
            )
            yield Fault(faults.ONE_CLASS, self.title, message)

    def empty_classes(self) -> Iterator[Fault]:
        """Yield the classes of which no mask has a pixel, once all masks were counted."""
        for name, count in zip(self.records.class_names, self.pixels.tolist(), strict=False):
            if not count:
                message = f"no pixel of any mask is of class {name!r}; add some, or drop it from the list of classes."
                yield Fault(faults.EMPTY_CLASS, self.title, message)

    def _is_in_place_of_a_class(self) -> bool:
        """Whether 255 is met beside one class at most, and of two classes never beside the second.

        A border (Pascal VOC) or a void region (Cityscapes) is met beside objects and background. Masks of 0 and 255 are
        not like that, alone or mixed with masks of 0 and 1. With more classes each patch may have one label, and be
        void elsewhere: sparse labels, which are no fault where there are two classes in all.
        """
        beside = self.together[:-1, -1]  # masks with 255 and each class
        classes = np.flatnonzero(self.pixels[:-1])
        if not beside.any():
            return False
        if len(classes) == 1:
            return True
        return len(self.records.class_names) == 2 and np.count_nonzero(beside) == 1

    def _suggestion(self) -> str:
        names = self.records.class_names
        first = int(np.flatnonzero(self.pixels[:-1])[0])
        other = names[1 - first] if len(names) == 2 else "NAME"
        return f"`{first} {names[first]}` and `255 {other}`"
