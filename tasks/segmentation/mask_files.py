"""Read the file of a mask as the numbers that stand in it, and in colours only where those are what is meant."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from tasks.images import opened


def read_values(path: str | os.PathLike[str], in_color: bool = False) -> np.ndarray:
    """Read a mask.

    Args:
        path: of the file.
        in_color: whether the colours are meant, and not the numbers.

    Returns:
        (H, W), the gray values or the indices into the palette as uint8, or the colours as int64,
        `red * 65536 + green * 256 + blue`.

    Raises:
        UnreadableImage: the file is missing, truncated or not an image; or it is in colour where numbers are meant, or
            has values above 255.
    """
    with opened(path) as image:
        if in_color:
            return np.array(image.convert("RGB")).astype(np.int64) @ np.array((1 << 16, 1 << 8, 1))
        return _values(image)


def _values(image: Image.Image) -> np.ndarray:
    if image.mode in ("P", "L", "1"):
        return np.array(image, dtype=np.uint8)
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.array(image)
        if values.min() < 0 or values.max() > 255:
            raise ValueError(f"its values are {values.min()}..{values.max()}, expected 0..255: one number a class")
        return values.astype(np.uint8)
    raise ValueError(
        f"its mode is {image.mode}; expected a gray or palette image with one number a class, or data.classes with "
        "lines `R G B name` that say what its colours stand for"
    )
