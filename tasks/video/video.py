"""Video decoder interface: random access to the frames of an open video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

import numpy as np

from vertebra.tasks.loading.files.faults import UnreadableFile


class UnreadableVideo(UnreadableFile):
    """Missing, empty, truncated or invalid video file."""


class Video(ABC):
    """Open video with random access to frames; a context manager.

    Attributes:
        timestamps: (F,) float64, ascending presentation times of the frames in seconds.
    """

    timestamps: np.ndarray

    @abstractmethod
    def read(self, indices: np.ndarray) -> np.ndarray:
        """Decode frames in display orientation.

        Args:
            indices: (T,) int64 in 0..F-1, in any order, possibly repeated.

        Returns:
            (T, H, W, 3) uint8 RGB.

        Raises:
            UnreadableVideo: a frame cannot be decoded.
        """

    def close(self) -> None:
        """Release the file; nothing to do for decoders that hold none."""
        return

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
