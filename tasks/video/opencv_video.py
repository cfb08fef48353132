"""Videos by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from vertebra.tasks.video.video import UnreadableVideo, Video

_NEAR = 32  # frames that are passed over rather than begun anew for


class OpenCVVideo(Video):
    """A video file, whose frames are taken to be evenly apart.

    Args:
        path: of the file.

    Raises:
        UnreadableVideo: it is no video.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.capture = cv2.VideoCapture(path)
        count = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)) if self.capture.isOpened() else 0
        if count < 1:
            self.close()
            raise UnreadableVideo(f"{path}: is no video that OpenCV reads. Copy it again.")
        self.timestamps = np.arange(count) / (self.capture.get(cv2.CAP_PROP_FPS) or 1.0)
        self.next = 0  # index of the frame that would be read

    def read(self, indices: np.ndarray) -> np.ndarray:
        found: dict[int, np.ndarray] = {}
        for index in np.unique(indices).tolist():
            if not self.next <= index <= self.next + _NEAR:
                self.capture.set(cv2.CAP_PROP_POS_FRAMES, index)
                self.next = index
            while self.next < index and self.capture.grab():
                self.next += 1
            there, pixels = self.capture.read() if self.next == index else (False, None)
            if not there or pixels is None:
                raise UnreadableVideo(
                    f"{self.path}: frame {index} of {len(self.timestamps)} cannot be decoded. Copy it again."
                )
            self.next = index + 1
            found[index] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        return np.stack([found[index] for index in indices.tolist()])

    def close(self) -> None:
        self.capture.release()
