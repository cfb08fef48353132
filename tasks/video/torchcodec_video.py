"""torchcodec decoder with exact frame seeking."""

from __future__ import annotations

import numpy as np

from vertebra.tasks.video.video import UnreadableVideo, Video


class TorchCodecVideo(Video):
    """Video file decoded by torchcodec, with timestamps from the average frame rate.

    Args:
        path: path of the file.

    Raises:
        UnreadableVideo: the file is no video.
        ValueError: torchcodec is not installed, or does not find FFmpeg.
    """

    def __init__(self, path: str) -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, RuntimeError, OSError) as error:  # the last two if FFmpeg's libraries are missing
            raise ValueError(
                f"torchcodec cannot be used ({error!s:.200}); install it with FFmpeg, or leave data.decoder at pyav."
            ) from None
        self.path = path
        try:
            # a single thread, since the loader processes already use every core
            self.decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
            count = self.decoder.metadata.num_frames
            rate = self.decoder.metadata.average_fps
        except (RuntimeError, ValueError) as error:
            raise UnreadableVideo(
                f"{path}: cannot be opened as a video by torchcodec ({error!s:.100}). Copy it again, or convert it."
            ) from None
        if not count:
            raise UnreadableVideo(f"{path}: has no frames. Copy it again.")
        self.timestamps = np.arange(count) / (rate or 1.0)

    def read(self, indices: np.ndarray) -> np.ndarray:
        try:
            return self.decoder.get_frames_at(indices.tolist()).data.numpy()
        except (RuntimeError, IndexError) as error:
            raise UnreadableVideo(f"{self.path}: is broken ({error!s:.100}). Copy it again.") from None
