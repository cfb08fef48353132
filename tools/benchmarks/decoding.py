"""Clips of long videos: read from the start of the file, from the keyframe ahead of them, and as training does."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.video.data import VideoData
from vertebra.tasks.video.decoding import open_video
from vertebra.tasks.video.sampling import Dense
from vertebra.tools.benchmarks.table import Table, table_of_ways
from vertebra.tools.benchmarks.timing import one_core

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
    Case("a keyframe every 250 frames, x264's default", {}),
    Case("a keyframe every second", {"g": str(RATE)}),
)


def ways(file: Path, clips: int) -> dict[str, Callable[[], None]]:
    """Return ways to read clips at random places of a video, and what loads copies of it as for training.

    Args:
        file: the video; a folder `train` comes beside it.
        clips: that each way reads.
    """
    with open_video(str(file)) as video:
        frames = len(video.timestamps)
    rng = np.random.default_rng(0)
    places = [SAMPLING.random(frames, rng) for _ in range(clips)]
    for number in range(clips):
        copy = file.parent / "train" / f"class {number % 2}" / f"{number:03d}.mp4"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    data = VideoData(str(file.parent), sampling=SAMPLING, num_workers=1)
    dataset = data.dataset(data.records("train"), training=True, missing="error")
    loader = data.train_dataloader()

    def from_places(read: Callable[[Path, np.ndarray], object]) -> None:
        for indices in places:
            read(file, indices)

    def from_dataset() -> None:
        for number in range(clips):
            dataset[SampleRequest(number, seed=number, batch_seed=0)]

    def from_loader() -> None:
        for _ in loader:
            pass

    return {
        "from the start of the file": partial(from_places, read_from_the_start),
        "the same, and every frame on the way to RGB": partial(from_places, read_all_from_the_start),
        "`open_video`": partial(from_places, read_sought),
        "`VideoDataset`: augmented, resized": from_dataset,
        "its loader: in a worker, as batches": from_loader,
    }


def read_from_the_start(file: Path, indices: np.ndarray) -> np.ndarray:
    """Decode from the first frame of a video to the last that is wanted, and make RGB of those that are.

    Args:
        file: the video.
        indices: (T,) int64, ascending.

    Returns:
        (T, H, W, 3) uint8 RGB.
    """
    wanted = set(indices.tolist())
    numbered = enumerate(_frames(file, indices[-1] + 1))
    return np.stack([frame.to_ndarray(format="rgb24") for number, frame in numbered if number in wanted])


def read_all_from_the_start(file: Path, indices: np.ndarray) -> np.ndarray:
    """Read the same as many loaders do: make RGB of every frame, and choose then."""
    return np.stack([frame.to_ndarray(format="rgb24") for frame in _frames(file, indices[-1] + 1)])[indices]


def _frames(file: Path, count: int) -> Iterator[av.VideoFrame]:
    with av.open(str(file)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        yield from itertools.islice(container.decode(video=0), count)


def read_sought(file: Path, indices: np.ndarray) -> np.ndarray:
    """Read the same with the reader of `vertebra.tasks.video`."""
    with open_video(str(file)) as video:
        return video.read(indices)


def write_video(file: Path, frames: int, options: dict[str, str]) -> None:
    """Write a view that wanders over a picture, with a ball that flies through it, as H.264.

    Args:
        file: to write.
        frames: how many, at `RATE` a second.
        options: see `Case`.
    """
    noise = np.random.default_rng(0).standard_normal((2 * HEIGHT, 2 * WIDTH, 3)).astype(np.float32)
    picture = np.clip(128 + 400 * cv2.GaussianBlur(noise, (0, 0), 3), 0, 255).astype(np.uint8)
    times = np.arange(frames) / RATE
    tops, lefts = HEIGHT * (1 + np.cos(0.6 * times)) / 2, WIDTH * (1 + np.sin(0.8 * times)) / 2
    rows, columns = HEIGHT * (1 + 0.7 * np.cos(4 * times)) / 2, WIDTH * (1 + 0.7 * np.sin(3 * times)) / 2
    with av.open(str(file), "w") as container:
        # without the macroblock tree, which reads unwritten memory: the file is the same in every run
        stream = container.add_stream("libx264", rate=RATE, options={**options, "x264-params": "mbtree=0"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for top, left, row, column in np.stack([tops, lefts, rows, columns], axis=1).astype(int).tolist():
            view = picture[top : top + HEIGHT, left : left + WIDTH].copy()
            cv2.circle(view, (column, row), HEIGHT // 10, (255, 40, 40), cv2.FILLED)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))


def keyframes(file: Path) -> int:
    """Count the frames of a video that need no other."""
    with av.open(str(file)) as container:
        return sum(packet.is_keyframe for packet in container.demux(video=0))


def tables_of(seconds: int, clips: int, rounds: int) -> Iterator[Table]:
    """Time the ways to read clips of each video, on one core.

    Args:
        seconds: of the videos.
        clips: that are read in a round.
        rounds: that count.
    """
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder, one_core():
            file = Path(folder) / "video.mp4"
            write_video(file, seconds * RATE, case.options)
            yield table_of_ways(
                f"clips of {SAMPLING.frames} frames, stride {SAMPLING.stride}, of {seconds} s of {WIDTH} x {HEIGHT}, "
                f"{RATE} frames a second, {case.name} ({keyframes(file)})",
                ways(file, clips),
                (clips, "clips"),
                ("av", "albumentations", "torch"),
                rounds,
                device="one CPU core",
            )
