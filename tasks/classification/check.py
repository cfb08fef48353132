"""Look at every image file of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.file_check import run_checks, unreadable
from vertebra.tasks.loading.files.images import VIEWED, UnreadableImage, decode_image
from vertebra.tasks.loading.files.pixels import Pixels


def check_files(
    files: Sequence[str], advance: Callable[[], object] = lambda: None, pixels: Pixels = VIEWED
) -> Iterator[Fault]:
    """Open and decode every image: missing files and unreadable ones.

    Args:
        files: paths of images.
        advance: called once for each image: for a progress bar.
        pixels: which channels of the files will be seen, and in which range.
    """
    yield from run_checks(partial(_check_file, pixels=pixels), files, advance=advance)


def _check_file(file: str, pixels: Pixels) -> Fault | None:
    try:
        decode_image(file, pixels)
    except UnreadableImage as error:
        return unreadable(file, error)
    return None
