"""Videos that are folders of images."""

from __future__ import annotations

import numpy as np

from tasks.images import UnreadableImage, find_images, read_image
from tasks.video.decoding import UnreadableVideo, Video

_RATE = 25.0  # frames a second, since a folder does not tell


class FrameFolder(Video):
    """The images of a folder in the order of their names, as frames.

    Args:
        path: of the folder.

    Raises:
        UnreadableVideo: it holds no image.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.files = find_images([path])
        if not self.files:
            raise UnreadableVideo(f"{path}: the folder holds no image; expected are the frames of a video.")
        self.timestamps = np.arange(len(self.files)) / _RATE

    def read(self, indices: np.ndarray) -> np.ndarray:
        try:
            frames = {index: read_image(self.files[index]) for index in np.unique(indices).tolist()}
        except UnreadableImage as error:
            raise UnreadableVideo(str(error)) from None
        if len({frame.shape for frame in frames.values()}) > 1:
            raise UnreadableVideo(f"{self.path}: its images have several sizes; the frames of a video have one.")
        return np.stack([frames[index] for index in indices.tolist()])
