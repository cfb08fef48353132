"""Videos by torchcodec."""

from __future__ import annotations

import numpy as np

from vertebra.tasks.video.video import UnreadableVideo, Video


class TorchCodecVideo(Video):
    """A video file, whose frames are taken to be evenly apart.

    Args:
        path: of the file.

    Raises:
        UnreadableVideo: it is no video.
        ValueError: torchcodec is not installed, or does not find FFmpeg.
    """

    def __init__(self, path: str) -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, RuntimeError, OSError) as error:  # the latter where FFmpeg's libraries are missing
            raise ValueError(
                f"torchcodec cannot be used ({error!s:.200}); install it with FFmpeg, or leave data.decoder at pyav."
            ) from None
        self.path = path
        try:
            self.decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
            count = self.decoder.metadata.num_frames
            rate = self.decoder.metadata.average_fps
        except (RuntimeError, ValueError) as error:
            raise UnreadableVideo(f"{path}: is no video that torchcodec reads ({error!s:.100}).") from None
        if not count:
            raise UnreadableVideo(f"{path}: holds no frame. Copy it again.")
        self.timestamps = np.arange(count) / (rate or 1.0)

    def read(self, indices: np.ndarray) -> np.ndarray:
        try:
            return self.decoder.get_frames_at(indices.tolist()).data.numpy()
        except (RuntimeError, IndexError) as error:
            raise UnreadableVideo(f"{self.path}: is broken ({error!s:.100}). Copy it again.") from None
