"""The bands of an image file as they are stored, whatever their number and type."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from PIL import Image

from vertebra.tasks.loading.files import tiff

_DEEP_COLOR = {"RGB;16B": 3, "LA;16B": 2, "RGBA;16B": 4}  # of PNG, which Pillow brings to 8 bits while it reads


def deep_bands(image: Image.Image) -> int:
    """Return how many bands of more than 8 bits Pillow would cut off while it reads the image; 0 if it keeps all."""
    tiles = getattr(image, "tile", ())
    mode = tiles[0].args if image.format == "PNG" and tiles else None
    return _DEEP_COLOR.get(mode, 0) if isinstance(mode, str) else 0


def read_bands(path: str | os.PathLike[str], image: Image.Image | None) -> np.ndarray:
    """Read the values of a file.

    A palette and YCbCr become red, green and blue, and black and white 0 and 255.

    Args:
        path: of the file.
        image: the file as Pillow opened it, or None of a TIFF.

    Returns:
        (H, W, C) as stored, not turned: alpha is a band, and CMYK has four.

    Raises:
        OSError, ValueError: as Pillow's decoders and `tiff.read_values`.
    """
    if image is None:
        page = tiff.read_layout(path)[0]
        if page.photometric in (0, 1, 2) and page.bits >= 8 and page.tags.get(259) != 7 and not _is_inverted(page):
            return tiff.read_values(path)
        with open_tiff(path) as other:  # a palette, CMYK, 1 bit, JPEG inside: what Pillow reads well
            return _stored(_as_array(other), page.orientation)
    if bands := deep_bands(image):
        image.load()  # Pillow knows a truncated file, of which OpenCV would return a part
        values = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        if values is None or values.dtype != np.uint16 or values.ndim != 3:
            raise ValueError(f"a PNG of 16 bits in {bands} bands that OpenCV does not read; save it as TIFF")
        values = values[:, :, [2, 1, 0, 3][: values.shape[2]]]
        return values[:, :, [0, 3]] if bands == 2 else values
    return _as_array(image)


@contextmanager
def open_tiff(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Open a TIFF by Pillow, which turns it upright while it loads it."""
    # not by its path: Pillow then maps the file into memory by the turned size, and gives other pixels
    with open(path, "rb") as file, Image.open(file) as image:
        yield image


def _stored(values: np.ndarray, orientation: int) -> np.ndarray:
    """Return (H, W, C) that Pillow has turned upright as it lies in the file."""
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
        values = values.astype(np.uint16)  # PGM and PNG of 16 bits in some versions of Pillow
    return values[..., None] if values.ndim == 2 else values
