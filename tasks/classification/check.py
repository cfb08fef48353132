"""Look at every image file of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks import faults
from tasks.faults import Fault
from tasks.images import UnreadableImage, decode_image


def check_files(files: Sequence[str], advance: Callable[[], object] = lambda: None) -> Iterator[Fault]:
    """Open and decode every image, in threads: missing files and unreadable ones.

    Args:
        files: paths of images.
        advance: called once for each image, from the caller's thread: for a progress bar.
    """
    with ThreadPoolExecutor() as pool:
        for fault in pool.map(_check_file, files):
            advance()
            if fault is not None:
                yield fault


def _check_file(file: str) -> Fault | None:
    try:
        decode_image(file)
    except UnreadableImage as error:
        kind = faults.UNREADABLE_IMAGE if Path(file).exists() else faults.MISSING_FILE
        return Fault(kind, file, str(error).removeprefix(f"{file}: "))
    return None
