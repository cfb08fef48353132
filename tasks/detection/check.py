"""Compare annotations with the image files that they are about."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.file_check import run_checks, unreadable
from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.files.images import VIEWED, decode_image
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
