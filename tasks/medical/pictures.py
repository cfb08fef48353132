"""Image files (PNG, JPEG, TIFF, ...) as scans, at their full bit depth."""

from __future__ import annotations

import numpy as np

from vertebra.tasks.loading.files.image_errors import UnreadableImage, opened
from vertebra.tasks.loading.files.images import read_image
from vertebra.tasks.medical.scans import Scan, UnreadableScan


def read_picture(path: str) -> Scan:
    """Read an image: 16-bit gray in 0..65535, any other in 0..255.

    RGB with three equal channels becomes gray, as many X-rays are saved as RGB.

    Raises:
        UnreadableScan: the file is damaged or not an image.
    """
    try:
        with opened(path) as image:
            # 16- or 32-bit modes of Pillow, which `read_image` would reduce to 8 bits
            if image.mode.startswith("I") or image.mode == "F":
                image.load()
                return Scan(path, np.asarray(image).astype(np.float32)[None])
        return Scan(path, channels_first(read_image(path)))
    except UnreadableImage as error:
        raise UnreadableScan(str(error)) from error


def channels_first(colors: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) as (3, H, W) float32, or as (1, H, W) if the three channels are equal."""
    gray = colors[..., :1]
    # exact equality: a gray JPEG without chroma also decodes to equal channels
    kept = gray if (colors == gray).all() else colors
    return np.ascontiguousarray(np.moveaxis(kept, -1, 0), dtype=np.float32)
