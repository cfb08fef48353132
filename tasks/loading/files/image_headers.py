"""Headers of image files: size and EXIF orientation without the pixels."""

from __future__ import annotations

import os
from typing import NamedTuple

from PIL import ExifTags, Image

from vertebra.tasks.loading.files import tiff
from vertebra.tasks.loading.files.image_errors import DECODER_ERRORS, named_errors

LARGEST_SIDE = 2**31 - 1  # pixels of a height or width that an annotation file may state


class ImageHeader(NamedTuple):
    """Image size and orientation, read without decoding pixels.

    Attributes:
        shown: (height, width) as a viewer shows the image.
        stored: (height, width) of the pixels in the file, before the EXIF rotation.
        orientation: the EXIF orientation in 1..8; 1 is upright.
    """

    shown: tuple[int, int]
    stored: tuple[int, int]
    orientation: int


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (height, width) as a viewer shows the image; reads the header only.

    Raises:
        UnreadableImage: the file is missing, or its header is not an image's.
    """
    return read_header(path).shown


def read_header(path: str | os.PathLike[str]) -> ImageHeader:
    """Return size and EXIF orientation of an image; its pixels are not read.

    Raises:
        UnreadableImage: the file is missing, or its header is not an image's.
    """
    with named_errors(path):
        if is_tiff(path):
            return _tiff_header(path)
        with Image.open(path) as image:
            return _tiff_header(path) if image.format == "TIFF" else header_of_image(image)


def is_tiff(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a TIFF by its suffix and its first bytes."""
    if os.path.splitext(path)[1].lower() not in tiff.SUFFIXES:
        return False
    with open(path, "rb") as file:
        return file.read(2) in (b"II", b"MM")


def _tiff_header(path: str | os.PathLike[str]) -> ImageHeader:
    page = tiff.read_layout(path)[0]
    return _header_of((page.height, page.width), page.orientation)


def header_of_image(image: Image.Image) -> ImageHeader:
    """Return the header of an opened image that is not a TIFF."""
    return _header_of((image.height, image.width), exif_orientation(image))


def _header_of(stored: tuple[int, int], orientation: int) -> ImageHeader:
    shown = stored[::-1] if orientation in (5, 6, 7, 8) else stored
    return ImageHeader(shown, stored, orientation if orientation in range(2, 9) else 1)


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where it is absent or unreadable."""
    try:
        # method of the base class: PngImageFile's decodes the whole image to look for EXIF behind the pixels
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:
        return 1
