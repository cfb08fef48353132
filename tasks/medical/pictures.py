"""X-rays and other images in the formats of photographs, with all the depth they have."""

from __future__ import annotations

import numpy as np

from vertebra.tasks.loading.files.images import UnreadableImage, opened, read_image
from vertebra.tasks.medical.scans import Scan, UnreadableScan


def read_picture(path: str) -> Scan:
    """Read an image: gray of 16 bits in 0..65535, any other in 0..255.

    One whose three colors are the same everywhere is gray: many X-rays are saved so.

    Raises:
        UnreadableScan: the file is broken or no image.
    """
    try:
        with opened(path) as image:
            if image.mode.startswith("I") or image.mode == "F":  # 16 or 32 bits, which `read_image` would bring to 8
                image.load()
                return Scan(path, np.asarray(image).astype(np.float32)[None])
        return Scan(path, channels_first(read_image(path)))
    except UnreadableImage as error:
        raise UnreadableScan(str(error)) from error


def channels_first(colors: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) as (3, H, W) float32, or as (1, H, W) where all three are the same."""
    gray = colors[..., :1]
    kept = gray if (colors == gray).all() else colors
    return np.ascontiguousarray(np.moveaxis(kept, -1, 0), dtype=np.float32)
