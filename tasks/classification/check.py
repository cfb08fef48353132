"""Look at every image file of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tasks.faults import Fault
from tasks.file_check import look_at_all, unreadable
from tasks.images import UnreadableImage, decode_image


def check_files(files: Sequence[str], advance: Callable[[], object] = lambda: None) -> Iterator[Fault]:
    """Open and decode every image: missing files and unreadable ones.

    Args:
        files: paths of images.
        advance: called once for each image: for a progress bar.
    """
    yield from look_at_all(_check_file, files, advance=advance)


def _check_file(file: str) -> Fault | None:
    try:
        decode_image(file)
    except UnreadableImage as error:
        return unreadable(file, error)
    return None
