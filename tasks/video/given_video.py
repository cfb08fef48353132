"""Video in memory: the frames of a clip that a program passes in place of a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from vertebra.tasks.loading.files.tensors import as_array, is_tensor
from vertebra.tasks.video.frame_folder import FRAME_RATE
from vertebra.tasks.video.video import Video


class GivenVideo(Video):
    """Video from an array (T, H, W, 3) or a tensor (T, 3, H, W), at the frame rate of a frame folder.

    Args:
        frames: RGB, uint8 in 0..255 or floating-point values in 0..1, not normalized.
        name: for messages.

    Raises:
        ValueError: another type, shape or range.
    """

    def __init__(self, frames: Any, name: str) -> None:
        values = as_array(frames)
        values = np.moveaxis(values, 1, 3) if is_tensor(frames) and values.ndim == 4 else values
        if values.ndim != 4 or values.shape[3] != 3 or not values.size:
            raise ValueError(
                f"{name}: is a {type(frames).__name__} of shape {tuple(np.shape(frames))}; expected the frames of a "
                "clip, an array (T, H, W, 3) or a tensor (T, 3, H, W). Reorder its axes, or give several in a list."
            )
        low, high = values.min(), values.max()
        is_float = values.dtype.kind == "f"
        if values.dtype.kind not in "buif" or not (low >= 0 and high <= (1 if is_float else 255)):
            raise ValueError(
                f"{name}: has {values.dtype} values in {low:g}..{high:g}; expected integers in 0..255, or "
                "floating-point values in 0..1, not normalized (the model does that). Scale the values."
            )
        self.frames = np.rint(values * 255).astype(np.uint8) if is_float else values.astype(np.uint8)
        self.timestamps = np.arange(len(self.frames)) / FRAME_RATE

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.frames[indices]
