"""Check of a segmentation split: readable files, matching sizes, known label values, class coverage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

from vertebra.tasks.loading.class_names import untrained_classes
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile
from vertebra.tasks.loading.files.file_check import run_checks, unreadable
from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.files.images import VIEWED, decode_image
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.segmentation.coverage import Coverage
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks, UnknownValues, WrongSize


class MaskCheck:
    """Full check of a split, reading every image and every mask.

    Args:
        records: images and masks of the split.
        title: name of the split in faults that concern no single file.
        needs_all: whether a class without pixels is a fault, as in a training split.
        trained: finished check of the training split; a class without pixels there is a fault if it has pixels here.
        pixels: channels and value range of the images.

    Attributes:
        coverage: pixel counts per class, complete once `faults` is exhausted.
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
        self._lock = Lock()  # `run_checks` calls from several threads

    def faults(self, advance: Callable[[], object] = lambda: None) -> Iterator[Fault]:
        """Yield faults of files (unreadable, size mismatch, unknown values), then faults of classes.

        Args:
            advance: called once per image, for a progress bar.
        """
        # classes come last: their faults follow from the counts of all masks
        yield from run_checks(self._check_sample, range(len(self.records)), advance=advance)
        yield from self.coverage.faults()
        if self.needs_all:
            yield from self.coverage.empty_classes()
        if self.trained is not None and self.trained.records.class_names == self.records.class_names:
            counts, trained = self._pixels(), self.trained._pixels()
            yield from untrained_classes(counts, trained, self.title, self.trained.title, "pixels")

    def summary(self) -> str:
        """Return the number of pixels and the fraction of each class, in one line."""
        counts = self.coverage.pixels
        labeled, total = int(counts[:-1].sum()), int(counts.sum())
        fractions = [
            f"{name} {count / max(1, labeled):.2%}"
            for name, count in zip(self.records.class_names, counts.tolist(), strict=False)
        ]
        ignored = f"{(total - labeled) / max(1, total):.2%} ignored"
        return f"{total} pixels, {ignored}; labeled pixels: {', '.join(fractions)}"

    def _pixels(self) -> dict[str, int]:
        # not strict: the counts end with that of ignored pixels, which are no class
        return dict(zip(self.records.class_names, self.coverage.pixels.tolist(), strict=False))

    def _check_sample(self, index: int) -> Fault | None:
        file = str(self.records.images[index])
        try:
            size = decode_image(file, self.pixels)[0]
        except UnreadableImage as error:
            return unreadable(file, error)
        try:
            labels = self.records.read_mask(index, size)
        except (WrongSize, UnknownValues) as error:
            kind = faults.SIZE_MISMATCH if isinstance(error, WrongSize) else faults.UNKNOWN_VALUE
            mask, _, message = str(error).partition(": ")  # these errors begin with the path of the mask
            return Fault(kind, mask, message)
        except UnreadableFile as error:
            mask = str(error).partition(": ")[0]
            return unreadable(mask, error)
        with self._lock:
            self.coverage.add(labels)
        return None
