"""Clips of long videos: read from the start of the file, from the keyframe ahead of them, and as training does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from tasks.samplers import Draw
from tasks.video.data import VideoData
from tasks.video.decoding import open_video
from tasks.video.sampling import Dense

RATE = 30  # frames a second
HEIGHT, WIDTH = 240, 320
SAMPLING = Dense(frames=16, stride=2)


class Case(NamedTuple):
    """A video file.

    Attributes:
        name: as the table shows it.
        options: of the encoder.
    """

    name: str
    options: dict[str, str]


CASES = (
    Case("x264's default, every 250 frames", {}),
    Case("every second, as cameras and streams have it", {"g": str(RATE)}),
)


class Readings(NamedTuple):
    """Ways to read clips of a video; each call reads the same number of them.

    Attributes:
        keyframes: of the video.
        from_the_start: decodes all that lies ahead of a clip.
        sought: begins at the keyframe ahead of a clip.
        dataset: likewise, and augments and resizes as training does by default.
        loader: the same in a worker process, which hands on batches.
    """

    keyframes: int
    from_the_start: Callable[[], None]
    sought: Callable[[], None]
    dataset: Callable[[], None]
    loader: Callable[[], None]


def readings(case: Case, folder: Path, seconds: int, clips: int) -> Readings:
    """Write a video, and copies of it as a training split, and return ways to read clips at random places.

    Args:
        case: what to write.
        folder: where; it is empty.
        seconds: of the video.
        clips: that a call reads; as many are the copies.
    """
    file = folder / "video.mp4"
    write_video(file, seconds * RATE, case.options)
    chance = np.random.default_rng(0)
    places = [SAMPLING.random(seconds * RATE, chance) for _ in range(clips)]
    for number in range(clips):
        copy = folder / "train" / f"class {number % 2}" / f"{number:03d}.mp4"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    data = VideoData(str(folder), sampling=SAMPLING, num_workers=1)
    samples = data.dataset(data.records("train"), training=True, missing="error")
    batches = data.train_dataloader()

    def from_the_start() -> None:
        for indices in places:
            read_from_the_start(file, indices)

    def sought() -> None:
        for indices in places:
            read_sought(file, indices)

    def dataset() -> None:
        for number in range(clips):
            samples[Draw(number, seed=number, batch_seed=0)]

    def loader() -> None:
        for _ in batches:
            pass

    return Readings(_keyframes(file), from_the_start, sought, dataset, loader)


def read_from_the_start(file: Path, indices: np.ndarray) -> np.ndarray:
    """Decode from the first frame to the last that is wanted, as simple readers do; only these become RGB.

    Args:
        file: a video.
        indices: (T,) int64, ascending.

    Returns:
        (T, H, W, 3) uint8 RGB.
    """
    wanted, found = set(indices.tolist()), []
    with av.open(str(file)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if len(found) == len(wanted):
                break
    return np.stack(found)


def read_sought(file: Path, indices: np.ndarray) -> np.ndarray:
    """Read the same with the reader of `tasks.video`."""
    with open_video(str(file)) as video:
        return video.read(indices)


def write_video(file: Path, frames: int, options: dict[str, str]) -> None:
    """Write a view that wanders over a picture, with a ball that flies through it, as H.264."""
    noise = np.random.default_rng(0).standard_normal((2 * HEIGHT, 2 * WIDTH, 3)).astype(np.float32)
    picture = np.clip(128 + 400 * cv2.GaussianBlur(noise, (0, 0), 3), 0, 255).astype(np.uint8)
    times = np.arange(frames) / RATE
    tops, lefts = HEIGHT * (1 + np.cos(0.6 * times)) / 2, WIDTH * (1 + np.sin(0.8 * times)) / 2
    rows, columns = HEIGHT * (1 + 0.7 * np.cos(4 * times)) / 2, WIDTH * (1 + 0.7 * np.sin(3 * times)) / 2
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for top, left, row, column in np.stack([tops, lefts, rows, columns], axis=1).astype(int).tolist():
            view = picture[top : top + HEIGHT, left : left + WIDTH].copy()
            cv2.circle(view, (column, row), HEIGHT // 10, (255, 40, 40), cv2.FILLED)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and the processes that it starts, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _keyframes(file: Path) -> int:
    with av.open(str(file)) as container:
        return sum(packet.is_keyframe for packet in container.demux(video=0))
