"""Class coverage of a split: pixels per class, and label sets over which a score is meaningless."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile
from vertebra.tasks.loading.files.image_headers import image_size
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks

_MIN_MASKS = 16  # always read: masks of 0 and 1 mixed with masks of 0 and 255 show up within so many
MOST_MASKS = 200  # limit of the search for rare classes; while there is a fault to report, all masks are read


class Coverage:
    """Pixel counts per class and co-occurrence of classes in masks.

    Args:
        records: images and masks of a split; counted one by one with `add`, or sampled with `read_sample`.
        title: name of the split in faults.

    Attributes:
        pixels: (K + 1,) int64, pixels of each class; the last entry counts ignored pixels.
        cooccurrence: (K + 1, K + 1) int64, masks that contain both classes; the diagonal counts masks with one class.
        num_masks: masks counted so far.
        unreadable: errors of the masks that could not be read.
    """

    def __init__(self, records: LabeledMasks, title: str) -> None:
        self.records = records
        self.title = title
        num_labels = len(records.class_names) + 1
        self.pixels = np.zeros(num_labels, dtype=np.int64)
        self.cooccurrence = np.zeros((num_labels, num_labels), dtype=np.int64)
        self.num_masks = 0
        self.unreadable: list[UnreadableFile] = []

    def add(self, labels: np.ndarray) -> None:
        """Count a mask (H, W) uint8 with labels in 0..K-1 or `IGNORE_INDEX`."""
        num_classes = len(self.records.class_names)
        counts = np.bincount(np.where(labels == IGNORE_INDEX, num_classes, labels).ravel(), minlength=num_classes + 1)
        present = (counts > 0).astype(np.int64)
        self.pixels += counts
        self.cooccurrence += present[:, None] * present
        self.num_masks += 1

    def read_sample(self, most: int = MOST_MASKS) -> None:
        """Count a random sample of masks that is large enough to detect label faults before training.

        A sound data set needs a few masks; all of them are read only where there is a fault to report. Unreadable masks
        are collected: the policy of a run decides whether they are errors.

        Args:
            most: limit of the search for rare classes.
        """
        # random order, since masks are often sorted by class; seeded, so that every process reports the same
        for index in np.random.default_rng(0).permutation(len(self.records)).tolist():
            try:
                self.add(self.records.read_mask(index, image_size(str(self.records.images[index]))))
            except UnreadableFile as error:
                self.unreadable.append(error)
            if len(self.unreadable) >= most:
                return
            is_full = bool((self.pixels[:-1] > 0).all()) or self.num_masks >= most
            if self.num_masks >= _MIN_MASKS and is_full and not any(self.faults()):
                return

    def faults(self) -> Iterator[Fault]:
        """Yield label sets over which a score is meaningless: 255 used as a class, a single class, or no labels."""
        names = self.records.class_names
        num_classes, present = len(names), np.flatnonzero(self.pixels[:-1])
        if not self.num_masks:
            return
        if num_classes == 1:
            message = f"{names[0]!r} is the only class, which any network predicts perfectly; name the background, too."
            yield Fault(faults.ONE_CLASS, self.title, message)
        elif self.records.masks.assumes_void and self._void_is_likely_a_class():
            fraction = self.pixels[-1] / self.pixels.sum()
            message = (
                f"{fraction:.1%} of the pixels are 255, which is ignored by default, but no mask has 255 together with "
                "two classes, as expected of a border or a void region. If 255 is a class, set data.classes "
                f"(--classes of vertebra check) to a file with the lines {self._suggestion()}. If it means "
                "unlabeled, set data.ignored=[255] (--ignored 255)."
            )
            yield Fault(faults.IGNORED_CLASS, self.title, message)
        elif not len(present):
            message = f"all pixels of {self.num_masks} masks are ignored; expected labeled pixels to train or evaluate."
            yield Fault(faults.NO_LABELS, self.title, f"{message} Label some, or correct data.ignored.")
        elif len(present) == 1:
            message = (
                f"all labeled pixels of {self.num_masks} masks are of class {names[present[0]]!r}; a score over one "
                f"class of {num_classes} is meaningless. Add masks of the others, or correct data.classes."
            )
            yield Fault(faults.ONE_CLASS, self.title, message)

    def empty_classes(self) -> Iterator[Fault]:
        """Yield the classes without pixels; valid after all masks have been counted."""
        for name, count in zip(self.records.class_names, self.pixels.tolist(), strict=False):
            if not count:
                message = f"no pixel of any mask is of class {name!r}; add some, or drop it from the list of classes."
                yield Fault(faults.EMPTY_CLASS, self.title, message)

    def _void_is_likely_a_class(self) -> bool:
        """Return whether 255 co-occurs with only one class, and so is probably a class itself.

        A border (Pascal VOC) or a void region (Cityscapes) co-occurs with objects and background. Binary masks of 0 and
        255 do not, alone or mixed with masks of 0 and 1. With three or more classes, sparse labels may leave one class
        per patch and void elsewhere, which is no fault.
        """
        masks_with_void = self.cooccurrence[:-1, -1]  # (K,), masks with 255 and each class
        classes = np.flatnonzero(self.pixels[:-1])
        if not masks_with_void.any():
            return False
        if len(classes) == 1:
            return True
        return len(self.records.class_names) == 2 and np.count_nonzero(masks_with_void) == 1

    def _suggestion(self) -> str:
        names = self.records.class_names
        first = int(np.flatnonzero(self.pixels[:-1])[0])
        other = names[1 - first] if len(names) == 2 else "NAME"
        return f"`{first} {names[first]}` and `255 {other}`"
