"""Video opening: dispatch of a file or a frame folder to a decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vertebra.tasks.video.video import UnreadableVideo, Video

Decoder = Literal["pyav", "opencv", "torchcodec"]


def open_video(path: str, decoder: Decoder = "pyav") -> Video:
    """Open a video file, or a folder of images as frames.

    Args:
        path: path of the file or folder.
        decoder: `pyav`; `opencv`, whose timestamps are exact at constant frame rate only; or `torchcodec`, which must
            be installed together with FFmpeg.

    Raises:
        UnreadableVideo: the file is missing, empty, truncated or no video, or has no frames.
        ValueError: unknown decoder, or one that is not installed.
    """
    # decoders are imported on use: each loads its own copy of FFmpeg's libraries, and torchcodec is optional
    if Path(path).is_dir():
        from vertebra.tasks.video.frame_folder import FrameFolder

        return FrameFolder(path)
    if not Path(path).is_file():
        raise UnreadableVideo(f"{path}: does not exist. Put the file there, or correct the path.")
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
    raise ValueError(f"decoder is {decoder!r}, which is unknown; choose pyav, opencv or torchcodec.")
