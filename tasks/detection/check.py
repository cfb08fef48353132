"""Compare annotations with the image files that they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks import faults
from tasks.detection.annotations import Annotations
from tasks.faults import Fault
from tasks.images import UnreadableImage, decode_image


def check_images(annotations: Annotations, advance: Callable[[], object] = lambda: None) -> Iterator[Fault]:
    """Open and decode every image, in threads: missing files, unreadable ones, sizes other than the annotations'.

    Args:
        annotations: what a reader returned.
        advance: called once for each image, from the caller's thread: for a progress bar.
    """
    with ThreadPoolExecutor() as pool:
        for fault in pool.map(_check_image, annotations.files.tolist(), annotations.sizes.tolist()):
            advance()
            if fault is not None:
                yield fault


def _check_image(file: str, size: list[int]) -> Fault | None:
    try:
        shown, stored = decode_image(file)
    except UnreadableImage as error:
        kind = faults.UNREADABLE_IMAGE if Path(file).exists() else faults.MISSING_FILE
        return Fault(kind, file, str(error).removeprefix(f"{file}: "))
    expected = (size[0], size[1])
    if expected in ((0, 0), shown):  # (0, 0): the annotations do not tell
        return None
    message = f"the annotations say {_told(expected)}, the image is {_told(shown)}"
    if expected == stored:
        message += (
            "; its EXIF rotation was not applied when it was annotated. Label it as it is shown, or drop its EXIF."
        )
    else:
        message += ". Annotate the image again, or put the annotated one back."
    return Fault(faults.SIZE_MISMATCH, file, message)


def _told(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]} pixels (width x height)"
