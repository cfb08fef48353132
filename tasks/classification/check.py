"""Check of a classification split: missing and unreadable image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.file_check import run_checks, unreadable
from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.files.images import VIEWED, decode_image
from vertebra.tasks.loading.files.pixels import Pixels


def check_files(
    files: Sequence[str], advance: Callable[[], object] = lambda: None, pixels: Pixels = VIEWED
) -> Iterator[Fault]:
    """Decode every image, and yield a fault for each missing or unreadable file.

    Args:
        files: paths of images.
        advance: called once per image, for a progress bar.
        pixels: channels and value range of the images.
    """
    yield from run_checks(partial(_check_file, pixels=pixels), files, advance=advance)


def _check_file(file: str, pixels: Pixels) -> Fault | None:
    try:
        decode_image(file, pixels)
    except UnreadableImage as error:
        return unreadable(file, error)
    return None
