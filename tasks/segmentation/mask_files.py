"""Read the file of a mask as the numbers that stand in it, never as the colours that they are shown in."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from tasks.images import opened


def read_values(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a gray or palette image.

    Returns:
        (H, W) uint8, the gray values, or the indices into the palette.

    Raises:
        UnreadableImage: the file is missing, truncated or not an image, in colour, or has values above 255.
    """
    with opened(path) as image:
        return _values(image)


def _values(image: Image.Image) -> np.ndarray:
    if image.mode in ("P", "L", "1"):
        return np.array(image, dtype=np.uint8)
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.array(image)
        if values.min() < 0 or values.max() > 255:
            raise ValueError(f"its values are {values.min()}..{values.max()}, expected 0..255: one number a class")
        return values.astype(np.uint8)
    raise ValueError(f"its mode is {image.mode}; expected a gray or palette image with one number a class")
