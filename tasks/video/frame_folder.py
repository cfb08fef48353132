"""Frame folder: a video stored as a folder of images."""

from __future__ import annotations

import os
import re

import numpy as np

from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.files.images import decode_image, read_image
from vertebra.tasks.video.video import UnreadableVideo, Video
from vertebra.tasks.video.video_files import frames_of

FRAME_RATE = 25.0  # frames per second, since a folder stores none; FFmpeg's default for image sequences
_LAST_NUMBER = re.compile(r"(\d+)\D*$")  # `img_00012.jpg` and `clip3_00012_x.jpg` alike


class FrameFolder(Video):
    """Video from the images directly inside a folder, in natural sort order of their names.

    If the names differ in their last number only, the numbers define the timestamps: frames 1, 2 and 4 are shown at 0,
    1 and 3 frame durations. The minimum step between numbers is one frame duration, so that a folder with every fifth
    frame of a video has no gaps.

    Args:
        path: path of the folder.

    Raises:
        UnreadableVideo: no image in the folder, or two images with the same number.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.files = frames_of(path)
        if not self.files:
            raise UnreadableVideo(f"{path}: the folder holds no image; expected the frames of a video. Put them there.")
        self.timestamps = self._frame_times() / FRAME_RATE

    def read(self, indices: np.ndarray) -> np.ndarray:
        try:
            frames = {
                index: read_image(os.path.join(self.path, self.files[index])) for index in np.unique(indices).tolist()
            }
        except UnreadableImage as error:
            raise UnreadableVideo(str(error)) from None
        if len({frame.shape for frame in frames.values()}) > 1:
            raise UnreadableVideo(
                f"{self.path}: its images have several sizes; expected one. Resize the frames, or remove the folder."
            )
        return np.stack([frames[index] for index in indices.tolist()])

    def check(self) -> None:
        """Decode every frame.

        Raises:
            UnreadableVideo: a frame is broken, or differs in size from the first.
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
                    f"{first[1]} x {first[0]}; expected one size. Resize the frames, or remove the folder."
                )

    def _frame_times(self) -> np.ndarray:
        """Return the presentation time of each frame, (F,) float64 starting at 0, in frame durations."""
        stems = [os.path.splitext(name)[0] for name in self.files]
        matches = [match for stem in stems if (match := _LAST_NUMBER.search(stem))]
        affixes = {(match.string[: match.start()], match.string[match.end(1) :]) for match in matches}
        if len(affixes) != 1 or len(matches) < len(stems):  # the numbers are not frame numbers of one video
            return np.arange(len(stems), dtype=np.float64)
        numbers = np.array([int(match[1]) for match in matches], dtype=np.float64)
        steps = np.diff(numbers)
        if (steps == 0).any():
            first = int(np.argmin(steps))
            raise UnreadableVideo(
                f"{self.path}: {self.files[first]} and {self.files[first + 1]} are both frame {int(numbers[first])}; "
                "expected one file per frame. Remove one of the two."
            )
        return (numbers - numbers[0]) / (steps.min() if len(steps) else 1.0)
