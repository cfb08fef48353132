"""Compare masks with their images and with the classes, and count what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

import numpy as np

from tasks import faults
from tasks.faults import Fault, UnreadableFile
from tasks.file_check import look_at_all, unreadable
from tasks.images import UnreadableImage, decode_image
from tasks.segmentation.ignore import IGNORE_INDEX
from tasks.segmentation.labelled_masks import LabelledMasks, UnknownValues, WrongSize


class MaskCheck:
    """Reads every image and every mask of a split.

    Args:
        records: what a reader returned.
        title: what the split is called in faults that belong to no file.
        needs_all: whether a class without a pixel is a fault, as it is where something is to be learned.

    Attributes:
        counts: (K + 1,) int64, pixels of each class that were seen, and behind them those that are ignored.
    """

    def __init__(self, records: LabelledMasks, title: str, needs_all: bool = True) -> None:
        self.records = records
        self.title = title
        self.needs_all = needs_all
        self.counts = np.zeros(len(records.class_names) + 1, dtype=np.int64)
        self._lock = Lock()

    def faults(self, advance: Callable[[], object] = lambda: None) -> Iterator[Fault]:
        """Yield unreadable files, masks of another size or with unknown values, and at last the empty classes.

        Args:
            advance: called once for each image: for a progress bar.
        """
        yield from look_at_all(self._look, range(self.records.size), advance=advance)
        for name, count in zip(self.records.class_names, self.counts.tolist(), strict=False):
            if self.needs_all and not count:
                message = f"no pixel of any mask is of class {name!r}; add some, or drop it from the list of classes."
                yield Fault(faults.EMPTY_CLASS, self.title, message)

    def told(self) -> str:
        """Return how many pixels were seen and which part of them each class has."""
        labelled, total = int(self.counts[:-1].sum()), int(self.counts.sum())
        shares = [
            f"{name} {count / max(1, labelled):.2%}"
            for name, count in zip(self.records.class_names, self.counts.tolist(), strict=False)
        ]
        ignored = f"{(total - labelled) / max(1, total):.2%} ignored"
        return f"{total} pixels, {ignored}; of the others {', '.join(shares)}"

    def _look(self, index: int) -> Fault | None:
        file = str(self.records.images[index])
        try:
            size = decode_image(file)[0]
        except UnreadableImage as error:
            return unreadable(file, error)
        try:
            labels = self.records.read_mask(index, size)
        except (WrongSize, UnknownValues) as error:
            kind = faults.SIZE_MISMATCH if isinstance(error, WrongSize) else faults.UNKNOWN_VALUE
            mask, _, message = str(error).partition(": ")
            return Fault(kind, mask, message)
        except UnreadableFile as error:
            mask = str(error).partition(": ")[0]
            return unreadable(mask, error)
        number = len(self.records.class_names)
        counts = np.bincount(np.where(labels == IGNORE_INDEX, number, labels).ravel(), minlength=number + 1)
        with self._lock:
            self.counts += counts
        return None
