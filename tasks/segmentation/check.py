"""Compare masks with their images and with the classes, and count what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile
from vertebra.tasks.loading.files.file_check import run_checks, unreadable
from vertebra.tasks.loading.files.images import VIEWED, UnreadableImage, decode_image
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.segmentation.coverage import Coverage
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks, UnknownValues, WrongSize


class MaskCheck:
    """Reads every image and every mask of a split.

    Args:
        records: what a reader returned.
        title: name of the split in faults that belong to no file.
        needs_all: whether a class without a pixel is a fault, as it is where something is to be learned.
        trained: the check of the training split, made before this one; its empty classes should be empty here, too.
        pixels: which channels of the images will be seen, and in which range.

    Attributes:
        coverage: pixels of each class that were seen.
    """

    def __init__(
        self,
        records: LabeledMasks,
        title: str,
        needs_all: bool = True,
        trained: MaskCheck | None = None,
        pixels: Pixels = VIEWED,
    ) -> None:
        self.records = records
        self.title = title
        self.needs_all = needs_all
        self.trained = trained
        self.pixels = pixels
        self.coverage = Coverage(records, title)
        self._lock = Lock()

    def faults(self, advance: Callable[[], object] = lambda: None) -> Iterator[Fault]:
        """Yield unreadable files, masks of another size or with unknown values, and at last the faults of classes.

        Args:
            advance: called once for each image: for a progress bar.
        """
        yield from run_checks(self._look, range(len(self.records)), advance=advance)
        yield from self.coverage.faults()
        if self.needs_all:
            yield from self.coverage.empty_classes()
        if self.trained is not None and self.trained.records.class_names == self.records.class_names:
            yield from self._untrained_classes(self.trained)

    def summary(self) -> str:
        """Return how many pixels were seen and which part of them each class has."""
        counts = self.coverage.pixels
        labeled, total = int(counts[:-1].sum()), int(counts.sum())
        shares = [
            f"{name} {count / max(1, labeled):.2%}"
            for name, count in zip(self.records.class_names, counts.tolist(), strict=False)
        ]
        ignored = f"{(total - labeled) / max(1, total):.2%} ignored"
        return f"{total} pixels, {ignored}; of the others {', '.join(shares)}"

    def _untrained_classes(self, trained: MaskCheck) -> Iterator[Fault]:
        counts = zip(self.records.class_names, trained.coverage.pixels.tolist(), self.coverage.pixels, strict=False)
        for name, learned, count in counts:
            if count and not learned:
                message = f"{count} pixels are of class {name!r}, of which the training split {trained.title} has none."
                yield Fault(faults.UNTRAINED_CLASS, self.title, f"{message} Divide the images differently.")

    def _look(self, index: int) -> Fault | None:
        file = str(self.records.images[index])
        try:
            size = decode_image(file, self.pixels)[0]
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
        with self._lock:
            self.coverage.add(labels)
        return None
