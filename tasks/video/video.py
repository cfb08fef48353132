"""Interface of a decoder: an open video, of which single frames can be read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

import numpy as np

from vertebra.tasks.loading.files.faults import UnreadableFile


class UnreadableVideo(UnreadableFile):
    """A video that is missing, empty, cut short or no video at all; the message says which."""


class Video(ABC):
    """An open video.

    Attributes:
        timestamps: (F,) float64, when each frame is shown, in seconds, ascending.
    """

    timestamps: np.ndarray

    @abstractmethod
    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return frames as a viewer shows them.

        Args:
            indices: (T,) int64 in 0..F-1, in any order, also repeated.

        Returns:
            (T, H, W, 3) uint8 RGB.

        Raises:
            UnreadableVideo: a frame cannot be decoded.
        """

    def close(self) -> None:
        """Let go of the file, where one is held."""
        return

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
