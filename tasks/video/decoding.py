"""Frames of a video file, only those that are wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from vertebra.tasks.loading.files.faults import UnreadableFile

Decoder = Literal["pyav", "opencv", "torchcodec"]


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


def open_video(path: str, decoder: Decoder = "pyav") -> Video:
    """Open a video file, or a folder whose images are its frames.

    Args:
        path: of the file or folder.
        decoder: `pyav`; `opencv`, whose timestamps are right at constant frame rate only; or `torchcodec`, which is to
            be installed with FFmpeg.

    Raises:
        UnreadableVideo: the file is missing, empty, cut short or no video, or holds no frame.
        ValueError: there is no such decoder, or it is not installed.
    """
    if Path(path).is_dir():
        from vertebra.tasks.video.frame_folder import FrameFolder

        return FrameFolder(path)
    if not Path(path).is_file():
        raise UnreadableVideo(f"{path}: does not exist. Put the file there, or mend the path.")
    if not Path(path).stat().st_size:
        raise UnreadableVideo(f"{path}: is empty (0 bytes). Copy it again.")
    if decoder == "pyav":
        from vertebra.tasks.video.pyav_video import PyAVVideo

        return PyAVVideo(path)
    if decoder == "opencv":
        from vertebra.tasks.video.opencv_video import OpenCVVideo

        return OpenCVVideo(path)
    if decoder == "torchcodec":
        from vertebra.tasks.video.torchcodec_video import TorchCodecVideo

        return TorchCodecVideo(path)
    raise ValueError(f"decoder is {decoder!r}; choose pyav, opencv or torchcodec.")
