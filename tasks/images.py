"""Read any image as a person sees it, and never half of one.

Pillow and not OpenCV: OpenCV returns the upper half of a truncated JPEG without a word, Pillow raises.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from tasks.faults import UnreadableFile
from tasks.listing import contents, files_below, natural_key

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

# what Pillow's many decoders raise on broken files
_DECODER_ERRORS = (
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

# the turn that undoes each EXIF orientation; 1 is upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(UnreadableFile):
    """An image that is missing, empty, cut short or no image at all; the message says which."""


class ImageHeader(NamedTuple):
    """The size of an image, read without its pixels.

    Attributes:
        shown: (height, width) as a viewer shows the image.
        stored: (height, width) of the pixels in the file, before the EXIF rotation.
        orientation: the EXIF orientation in 1..8; 1 is upright.
    """

    shown: tuple[int, int]
    stored: tuple[int, int]
    orientation: int


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image as a viewer shows it: upright, in colour, transparency over white.

    Returns:
        (H, W, 3) uint8, RGB in 0..255. Gray is repeated; 16-bit gray is scaled by 1/257, so that white stays white.

    Raises:
        UnreadableImage: the file is missing, truncated, not an image, or has values without a known white.
    """
    with opened(path) as image:
        # Pillow turns a TIFF upright while it loads it
        orientation = 1 if image.format == "TIFF" else _orientation(image)
        image.load()
        if image.mode == "I" or image.mode.startswith("I;16"):
            upright = _from_16_bit(image)
        elif image.mode == "F":
            raise ValueError("32-bit floating-point pixels have no known white; convert the file to 8 or 16 bits")
        elif image.has_transparency_data:
            upright = Image.new("RGBA", image.size, "white")
            upright.alpha_composite(image.convert("RGBA"))
            upright = upright.convert("RGB")
        else:
            upright = image if image.mode == "RGB" else image.convert("RGB")
        if orientation in _UPRIGHT:
            upright = upright.transpose(_UPRIGHT[orientation])
        return np.array(upright)


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
    with opened(path) as image:
        return _header(image)


def decode_image(path: str | os.PathLike[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Decode the whole file, as cheaply as its format allows, only to learn that it can be decoded.

    Returns:
        (height, width) as a viewer shows the image, and (height, width) as stored, before the EXIF rotation.

    Raises:
        UnreadableImage: the file is missing, truncated or not an image.
    """
    with opened(path) as image:
        header = _header(image)
        image.draft(None, (1, 1))  # a JPEG is read to its end, but only an eighth of its pixels is computed
        image.load()
        return header.shown, header.stored


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List images: a file as given, a folder as all the images below it in natural order of their paths.

    Raises:
        FileNotFoundError: a path does not exist.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = (file for file in map(Path, files_below(path, IMAGE_SUFFIXES)) if file.is_file())
            found += sorted(inside, key=lambda file: [natural_key(part) for part in file.parts])
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path} does not exist; expected an image or a folder of images. Mend the path.")
    return found


def images_to_predict(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List images as `find_images` does, none of whose paths may be a folder without an image.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        inside = find_images([path])
        if not inside:
            raise ValueError(
                f"{os.fspath(path)}: the folder holds {contents(path)}; expected images "
                f"({', '.join(sorted(IMAGE_SUFFIXES))}). Give a folder that holds some."
            )
        found += inside
    return found


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Open an image, and turn all that goes wrong inside the block into an `UnreadableImage` that names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except _DECODER_ERRORS as error:
        remedy = "Replace the file, or take it out of the data set."
        raise UnreadableImage(f"{os.fspath(path)}: {_reason(path, error)}. {remedy}") from error


def _reason(path: str | os.PathLike[str], error: Exception) -> str:
    if not os.path.exists(path):
        return "the image does not exist"
    if os.path.isdir(path):
        return "this is a folder, expected an image"
    if os.path.getsize(path) == 0:
        return "the file is empty (0 bytes), expected an image"
    if isinstance(error, Image.UnidentifiedImageError):
        with open(path, "rb") as file:
            return f"not an image that Pillow knows, it begins with {file.read(12)!r}"
    return f"cannot be decoded: {error}"


def _header(image: Image.Image) -> ImageHeader:
    """Return the header of an image that is not loaded yet."""
    if image.format == "TIFF":  # from the tags: whether Pillow's `size` is turned already depends on its version
        tags = image.tag_v2  # type: ignore[attr-defined]
        stored = (int(tags[ExifTags.Base.ImageLength]), int(tags[ExifTags.Base.ImageWidth]))
        orientation = tags.get(ExifTags.Base.Orientation, 1)
    else:
        stored, orientation = (image.height, image.width), _orientation(image)
    shown = stored[::-1] if orientation in (5, 6, 7, 8) else stored
    return ImageHeader(shown, stored, orientation if orientation in _UPRIGHT else 1)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where there is none or where it is not readable."""
    try:
        # the base class's, since that of PNG would decode the whole image to look for EXIF behind the pixels
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:
        return 1


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale gray of 0..65535 to RGB of 0..255; some versions of Pillow open 16-bit files as 32-bit integers."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"pixels of {values.min()}..{values.max()} do not fit into 16 bits; convert the file to 8 or 16 bits"
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
