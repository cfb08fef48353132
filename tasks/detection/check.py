"""Compare annotations with the image files that they are about, and with those that were trained on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

import numpy as np

from vertebra.tasks.detection.annotations import Annotations
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.file_check import run_checks, unreadable
from vertebra.tasks.loading.files.images import VIEWED, UnreadableImage, decode_image
from vertebra.tasks.loading.files.pixels import Pixels


def check_images(
    annotations: Annotations,
    known: Collection[Fault] = (),
    advance: Callable[[], object] = lambda: None,
    pixels: Pixels = VIEWED,
) -> Iterator[Fault]:
    """Open and decode every image: missing files and unreadable ones; sizes were compared by the readers.

    Args:
        annotations: what a reader returned.
        known: faults that were reported already; files with one of them are passed over.
        advance: called once for each image: for a progress bar.
        pixels: which channels of the files will be seen, and in which range.
    """
    skipped = {fault.file for fault in known if fault.kind in (faults.UNREADABLE_IMAGE, faults.MISSING_FILE)}
    yield from run_checks(partial(_check_image, skipped, pixels), annotations.files.tolist(), advance=advance)


def _check_image(skipped: Collection[str], pixels: Pixels, file: str) -> Fault | None:
    if file in skipped:
        return None
    try:
        decode_image(file, pixels)
    except UnreadableImage as error:
        return unreadable(file, error)
    return None


def find_untrained(annotations: Annotations, trained: Annotations, source: str, training: str) -> Iterator[Fault]:
    """Find classes of which a split has boxes and the training split has none, so that none can be detected.

    Args:
        annotations: of the split.
        trained: of the training split.
        source: the split's file.
        training: name of the training split.
    """
    counts = np.bincount(annotations.instances.labels, minlength=len(annotations.class_names) + 1)[1:]
    learned = {trained.class_names[label - 1] for label in np.unique(trained.instances.labels).tolist()}
    for name, count in zip(annotations.class_names, counts.tolist(), strict=True):
        if count and name not in learned:
            message = f"class {name!r:.80} has {count} boxes here and none in {training}, so none can be detected. "
            message += "Move some of its images to the training split, or drop the class."
            yield Fault(faults.UNTRAINED_CLASS, source, message)
