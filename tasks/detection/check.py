"""Compare annotations with the image files that they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tasks import faults
from tasks.detection.annotations import Annotations
from tasks.faults import Fault
from tasks.file_check import look_at_all, unreadable
from tasks.images import UnreadableImage, decode_image


def check_images(annotations: Annotations, advance: Callable[[], object] = lambda: None) -> Iterator[Fault]:
    """Open and decode every image: missing files, unreadable ones, sizes other than the annotations'.

    Args:
        annotations: what a reader returned.
        advance: called once for each image: for a progress bar.
    """
    yield from look_at_all(_check_image, annotations.files.tolist(), annotations.sizes.tolist(), advance=advance)


def _check_image(file: str, size: list[int]) -> Fault | None:
    try:
        shown, stored = decode_image(file)
    except UnreadableImage as error:
        return unreadable(file, error)
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
