"""Errors of image files: whatever a decoder raises, as one error with the file and a reason."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.files.pixels import UnclearPixels

# what Pillow's decoders raise on broken files
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class UnreadableImage(UnreadableFile):
    """An image that is missing, empty, truncated or not an image; the message has the reason."""


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Open an image; any decoder error inside the block becomes an `UnreadableImage` that names the file."""
    with named_errors(path), Image.open(path) as image:
        yield image


@contextmanager
def named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert decoder errors inside the block into an `UnreadableImage` that names the file."""
    try:
        yield
    except UnreadableImage:
        raise
    except UnclearPixels as error:
        raise UnreadableImage(f"{os.fspath(path)}: {error}.") from error
    except DECODER_ERRORS as error:
        remedy = "Replace the file, or remove it from the data set."
        raise UnreadableImage(f"{os.fspath(path)}: {_reason(path, error)}. {remedy}") from error


def _reason(path: str | os.PathLike[str], error: Exception) -> str:
    if not os.path.exists(path):
        return "the image does not exist"
    if os.path.isdir(path):
        return "is a folder, expected an image"
    if os.path.getsize(path) == 0:
        return "the file is empty (0 bytes), expected an image"
    if isinstance(error, Image.UnidentifiedImageError):
        with open(path, "rb") as file:
            return f"not an image format that Pillow reads, it begins with {file.read(12)!r}"
    return f"cannot be decoded: {error}"
