"""Resizing of images with any number of channels."""

from __future__ import annotations

import cv2
import numpy as np

_GROUP = 4  # most channels that all of OpenCV's interpolations support (INTER_AREA is the limit)


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image (H, W, C) uint8 to (height, width, C), by area averaging when it shrinks to less than half."""
    smaller = height < image.shape[0] / 2 or width < image.shape[1] / 2
    return resized_by(image, height, width, cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def resized_by(image: np.ndarray, height: int, width: int, interpolation: int) -> np.ndarray:
    """Resize an image (H, W, C) uint8 to (height, width, C) with one of OpenCV's interpolation flags."""
    if image.shape[2] <= _GROUP:
        result = cv2.resize(image, (width, height), interpolation=interpolation)
        return result if result.ndim == 3 else result[..., None]  # OpenCV drops the axis of a single channel
    groups = (image[..., start : start + _GROUP] for start in range(0, image.shape[2], _GROUP))
    return np.concatenate([resized_by(np.ascontiguousarray(g), height, width, interpolation) for g in groups], axis=2)
