"""Videos that are folders of images."""

from __future__ import annotations

import os
import re

import numpy as np

from vertebra.tasks.loading.files.images import UnreadableImage, decode_image, read_image
from vertebra.tasks.video.video import UnreadableVideo, Video
from vertebra.tasks.video.video_files import frames_of

_RATE = 25.0  # frames a second, since a folder does not store one
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


class FrameFolder(Video):
    """The images directly inside a folder as frames, in natural order of their names.

    Where all names differ in their last number alone, missing numbers are time that passes: frames 1, 2 and 4 are shown
    at 0, 1 and 3 frame times. The closest two frames are one frame time apart, so that every fifth frame of a video is
    one with fewer frames and no gap.

    Args:
        path: of the folder.

    Raises:
        UnreadableVideo: it holds no image, or two with one number.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.files = frames_of(path)
        if not self.files:
            raise UnreadableVideo(f"{path}: the folder holds no image; expected are the frames of a video.")
        self.timestamps = self._places() / _RATE

    def read(self, indices: np.ndarray) -> np.ndarray:
        try:
            frames = {
                index: read_image(os.path.join(self.path, self.files[index])) for index in np.unique(indices).tolist()
            }
        except UnreadableImage as error:
            raise UnreadableVideo(str(error)) from None
        if len({frame.shape for frame in frames.values()}) > 1:
            raise UnreadableVideo(f"{self.path}: its images have several sizes; the frames of a video have one.")
        return np.stack([frames[index] for index in indices.tolist()])

    def check(self) -> None:
        """Decode every frame.

        Raises:
            UnreadableVideo: one is broken, or of another size than the first.
        """
        first: tuple[int, int] | None = None
        for name in self.files:
            try:
                size = decode_image(os.path.join(self.path, name))[0]
            except UnreadableImage as error:
                raise UnreadableVideo(str(error)) from None
            if size != (first := first or size):
                raise UnreadableVideo(
                    f"{self.path}: {name} is {size[1]} x {size[0]} pixels (width x height), {self.files[0]} is "
                    f"{first[1]} x {first[0]}; expected one size. Resize the frames, or take the folder out."
                )

    def _places(self) -> np.ndarray:
        """Return when each frame is shown, (F,) float64 from 0 on, in frame times."""
        stems = [os.path.splitext(name)[0] for name in self.files]
        found = [match for stem in stems if (match := _LAST_NUMBER.search(stem))]
        around = {(match.string[: match.start()], match.string[match.end(1) :]) for match in found}
        if len(around) != 1 or len(found) < len(stems):  # the names do not number the frames of one video
            return np.arange(len(stems), dtype=np.float64)
        numbers = np.array([int(match[1]) for match in found], dtype=np.float64)
        steps = np.diff(numbers)
        if (steps == 0).any():
            twin = int(np.argmin(steps))
            raise UnreadableVideo(
                f"{self.path}: {self.files[twin]} and {self.files[twin + 1]} are both frame {int(numbers[twin])}; "
                "expected one file a frame. Remove one of the two."
            )
        return (numbers - numbers[0]) / (steps.min() if len(steps) else 1.0)
