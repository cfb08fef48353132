"""Picture writer that raises on a full disk, where OpenCV's own only returns False."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np


def write_picture(file: Path, picture: np.ndarray, quality: int = 92) -> None:
    """Write a picture in the format of the file's suffix.

    Args:
        file: its folder exists.
        picture: (H, W, 3) uint8, RGB.
        quality: of a JPEG, 0..100.

    Raises:
        OSError: the file cannot be written; it does not exist then.
    """
    is_jpeg = file.suffix.lower() in (".jpg", ".jpeg")
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality] if is_jpeg else []  # OpenCV 5 warns about those of other formats
    _, content = cv2.imencode(file.suffix, picture[:, :, ::-1], settings)
    try:
        file.write_bytes(content.tobytes())
    except OSError:
        with suppress(OSError):
            file.unlink(missing_ok=True)  # not half of it
        raise
