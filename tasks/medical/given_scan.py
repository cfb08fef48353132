"""Scan in memory: pixels that a program passes in place of a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from vertebra.tasks.loading.files.images import pillow_pixels
from vertebra.tasks.loading.files.tensors import as_array
from vertebra.tasks.medical.pictures import channels_first
from vertebra.tasks.medical.scans import Scan, finite


def given_scan(value: Any, name: str) -> Scan:
    """Return a scan from memory.

    Args:
        value: a `Scan`, which has spacing and affine; a Pillow image; or an array or tensor (H, W), of a color image
            (H, W, 3), of a volume (D, H, W), in the orientation and units of the scans that the model was trained on.
        name: of the scan.

    Raises:
        ValueError: another type or shape.
        UnreadableScan: a pixel is NaN or infinite.
    """
    if isinstance(value, Scan):
        return finite(value)
    if isinstance(value, Image.Image):
        value = np.asarray(value) if value.mode[0] in "IF" else pillow_pixels(value)  # as `read_picture`
    pixels = as_array(value)
    if pixels.ndim not in (2, 3) or not pixels.size or pixels.dtype.kind not in "buif":
        raise ValueError(
            f"{name}: is a {type(value).__name__} of shape {tuple(pixels.shape)} and type {pixels.dtype}; expected an "
            "image (H, W) or (H, W, 3), or a volume (D, H, W), of numbers. Convert it, or give several in a list."
        )
    in_color = pixels.ndim == 3 and pixels.shape[2] == 3
    channels = channels_first(pixels) if in_color else np.ascontiguousarray(pixels[None], dtype=np.float32)
    return finite(Scan(name, channels))
