"""Stored bands of an image file, of any number and type."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from PIL import Image

from vertebra.tasks.loading.files import tiff

_DEEP_COLOR = {"RGB;16B": 3, "LA;16B": 2, "RGBA;16B": 4}  # PNG modes that Pillow reduces to 8 bits while reading


def deep_bands(image: Image.Image) -> int:
    """Return the number of bands whose depth Pillow would reduce to 8 bits; 0 if it keeps the depth."""
    tiles = getattr(image, "tile", ())
    mode = tiles[0].args if image.format == "PNG" and tiles else None
    return _DEEP_COLOR.get(mode, 0) if isinstance(mode, str) else 0


def read_bands(path: str | os.PathLike[str], image: Image.Image | None) -> np.ndarray:
    """Read the stored values of a file.

    Palettes and YCbCr are converted to RGB, bilevel images to 0 and 255.

    Args:
        path: of the file.
        image: the file as opened by Pillow, or None for a TIFF.

    Returns:
        (H, W, C) as stored, before EXIF rotation; alpha is a band, CMYK has four.

    Raises:
        OSError, ValueError: see Pillow's decoders and `tiff.read_values`.
    """
    if image is None:
        page = tiff.read_layout(path)[0]
        if page.photometric in (0, 1, 2) and page.bits >= 8 and page.tags.get(259) != 7 and not _is_inverted(page):
            return tiff.read_values(path)
        with open_tiff(path) as other:  # palette, CMYK, 1 bit, JPEG-compressed
            return _stored(_as_array(other), page.orientation)
    if bands := deep_bands(image):
        image.load()  # raises on a truncated file, of which OpenCV would return a part
        values = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        if values is None or values.dtype != np.uint16 or values.ndim != 3:
            raise ValueError(f"a PNG of 16 bits in {bands} bands that OpenCV does not read; save it as TIFF")
        values = values[:, :, [2, 1, 0, 3][: values.shape[2]]]
        return values[:, :, [0, 3]] if bands == 2 else values
    return _as_array(image)


@contextmanager
def open_tiff(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Open a TIFF with Pillow, which rotates it upright while loading."""
    # as a stream: given a path, Pillow memory-maps the file with the rotated size and returns wrong pixels
    with open(path, "rb") as file, Image.open(file) as image:
        yield image


def _stored(values: np.ndarray, orientation: int) -> np.ndarray:
    """Undo Pillow's rotation: return (H, W, C) as stored."""
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else values


def _is_inverted(page: tiff.Page) -> bool:
    return page.photometric == 0 and page.bits == 8


def _as_array(image: Image.Image) -> np.ndarray:
    if image.mode in ("1", "P", "PA", "YCbCr", "LAB", "HSV", "RGBX"):
        has_alpha = image.has_transparency_data and image.mode != "RGBX"
        image = image.convert("L" if image.mode == "1" else "RGBA" if has_alpha else "RGB")
    values = np.asarray(image)
    if image.mode == "I" and values.size and values.min() >= 0 and values.max() <= 65535:
        values = values.astype(np.uint16)  # 16-bit PGM and PNG in some versions of Pillow
    return values[..., None] if values.ndim == 2 else values
