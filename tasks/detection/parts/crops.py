"""Instance masks cropped to the pixels that they have."""

from __future__ import annotations

import numpy as np

# x, y, width and height of a crop in pixels, and its mask (height, width) bool
Crop = tuple[tuple[int, int, int, int], np.ndarray]


def crop_mask(mask: np.ndarray) -> Crop:
    """Crop a mask (H, W) to the pixels that it has; one without a pixel gives a window without area."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return (0, 0, 0, 0), mask[:0, :0]
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return (left, top, right - left, bottom - top), mask[top:bottom, left:right]
