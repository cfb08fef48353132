"""OpenCV decoder with frame seeking."""

from __future__ import annotations

import cv2
import numpy as np

from vertebra.tasks.video.video import UnreadableVideo, Video

_MAX_GRABS = 32  # frames to skip one by one: a seek restarts at a keyframe, with x264's defaults up to 250 frames back


class OpenCVVideo(Video):
    """Video file decoded by OpenCV, assuming a constant frame rate.

    Args:
        path: path of the file.

    Raises:
        UnreadableVideo: the file is no video.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.capture = cv2.VideoCapture(path)
        count = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)) if self.capture.isOpened() else 0
        if count < 1:
            self.close()
            raise UnreadableVideo(f"{path}: cannot be opened as a video by OpenCV. Copy it again, or convert it.")
        # OpenCV reports a rate of 0 where the header has none
        self.timestamps = np.arange(count) / (self.capture.get(cv2.CAP_PROP_FPS) or 1.0)
        self.next_index = 0  # of the frame that `capture.read` would return

    def read(self, indices: np.ndarray) -> np.ndarray:
        frames: dict[int, np.ndarray] = {}
        for index in np.unique(indices).tolist():  # ascending, so that most frames are reached without a seek
            if not self.next_index <= index <= self.next_index + _MAX_GRABS:
                self.capture.set(cv2.CAP_PROP_POS_FRAMES, index)
                self.next_index = index
            while self.next_index < index and self.capture.grab():  # decodes without converting colors
                self.next_index += 1
            ok, pixels = self.capture.read() if self.next_index == index else (False, None)
            if not ok or pixels is None:
                raise UnreadableVideo(
                    f"{self.path}: frame {index} of {len(self.timestamps)} cannot be decoded. Copy it again."
                )
            self.next_index = index + 1
            frames[index] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        return np.stack([frames[index] for index in indices.tolist()])

    def close(self) -> None:
        self.capture.release()
