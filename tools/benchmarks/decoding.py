"""Benchmark of clip decoding: from the start of the file, from the preceding keyframe, and in the data loader."""

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
from vertebra.tools.benchmarks.table import Table, compare_throughput
from vertebra.tools.benchmarks.timing import one_core

RATE = 30  # frames per second
HEIGHT, WIDTH = 240, 320
SAMPLING = Dense(frames=16, stride=2)


class Case(NamedTuple):
    """An encoding of the test video.

    Attributes:
        name: part of the table's title.
        options: of the encoder.
    """

    name: str
    options: dict[str, str]


# decoding starts at a keyframe, so their distance decides the cost of random access
CASES = (
    Case("a keyframe every 250 frames, x264's default", {}),
    Case("a keyframe every second", {"g": str(RATE)}),
)


def readers(file: Path, clips: int) -> dict[str, Callable[[], None]]:
    """Return functions that read clips at random positions of a video, or load copies of it as in training.

    Args:
        file: the video; the copies are written to a folder `train` beside it.
        clips: number of clips per run.
    """
    with open_video(str(file)) as video:
        frames = len(video.timestamps)
    rng = np.random.default_rng(0)  # the same clips for all readers
    positions = [SAMPLING.random(frames, rng) for _ in range(clips)]
    # copies and not one file: a data set opens every file once per epoch
    for number in range(clips):
        copy = file.parent / "train" / f"class {number % 2}" / f"{number:03d}.mp4"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    # one worker, so that the time is the throughput per core
    data = VideoData(str(file.parent), sampling=SAMPLING, num_workers=1)
    dataset = data.dataset(data.records("train"), training=True, missing="error")
    loader = data.train_dataloader()

    def read_clips(read: Callable[[Path, np.ndarray], object]) -> None:
        for indices in positions:
            read(file, indices)

    def from_dataset() -> None:
        for number in range(clips):
            dataset[SampleRequest(number, seed=number, batch_seed=0)]

    def from_loader() -> None:
        for _ in loader:
            pass

    return {
        "from the start of the file": partial(read_clips, read_from_start),
        "from the start, all frames to RGB": partial(read_clips, read_all_from_start),
        "`open_video`": partial(read_clips, read_with_seek),
        "`VideoDataset`: augmented, resized": from_dataset,
        "its data loader: one worker, batches": from_loader,
    }


def read_from_start(file: Path, indices: np.ndarray) -> np.ndarray:
    """Decode a video from its first frame to the last requested one, and convert the requested frames to RGB.

    Args:
        file: the video.
        indices: (T,) int64, ascending frame numbers.

    Returns:
        (T, H, W, 3) uint8 RGB.
    """
    requested = set(indices.tolist())
    numbered = enumerate(_frames(file, indices[-1] + 1))
    return np.stack([frame.to_ndarray(format="rgb24") for number, frame in numbered if number in requested])


def read_all_from_start(file: Path, indices: np.ndarray) -> np.ndarray:
    """Convert every decoded frame to RGB and select afterwards, as many data loaders do."""
    return np.stack([frame.to_ndarray(format="rgb24") for frame in _frames(file, indices[-1] + 1)])[indices]


def _frames(file: Path, count: int) -> Iterator[av.VideoFrame]:
    with av.open(str(file)) as container:
        container.streams.video[0].codec_context.thread_count = 1  # as in a loader process beside others
        yield from itertools.islice(container.decode(video=0), count)


def read_with_seek(file: Path, indices: np.ndarray) -> np.ndarray:
    """Read the same frames with the reader of `vertebra.tasks.video`, which seeks to the preceding keyframe."""
    with open_video(str(file)) as video:
        return video.read(indices)


def write_video(file: Path, frames: int, options: dict[str, str]) -> None:
    """Write an H.264 video of a camera panning over a textured picture with a moving ball.

    Args:
        file: output path.
        frames: number of frames, at `RATE` per second.
        options: of the encoder; see `Case`.
    """
    # both camera and object move: a static scene would decode unrealistically fast
    noise = np.random.default_rng(0).standard_normal((2 * HEIGHT, 2 * WIDTH, 3)).astype(np.float32)
    picture = np.clip(128 + 400 * cv2.GaussianBlur(noise, (0, 0), 3), 0, 255).astype(np.uint8)
    times = np.arange(frames) / RATE
    tops, lefts = HEIGHT * (1 + np.cos(0.6 * times)) / 2, WIDTH * (1 + np.sin(0.8 * times)) / 2
    rows, columns = HEIGHT * (1 + 0.7 * np.cos(4 * times)) / 2, WIDTH * (1 + 0.7 * np.sin(3 * times)) / 2
    with av.open(str(file), "w") as container:
        # x264's macroblock tree reads uninitialized memory; without it the file is identical in every run
        stream = container.add_stream("libx264", rate=RATE, options={**options, "x264-params": "mbtree=0"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for top, left, row, column in np.stack([tops, lefts, rows, columns], axis=1).astype(int).tolist():
            view = picture[top : top + HEIGHT, left : left + WIDTH].copy()
            cv2.circle(view, (column, row), HEIGHT // 10, (255, 40, 40), cv2.FILLED)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))


def keyframes(file: Path) -> int:
    """Count the keyframes of a video."""
    with av.open(str(file)) as container:
        return sum(packet.is_keyframe for packet in container.demux(video=0))


def measure(seconds: int, clips: int, rounds: int) -> Iterator[Table]:
    """Measure all readers on each encoding, on one core.

    Args:
        seconds: length of the video.
        clips: clips per round.
        rounds: number of measured rounds.
    """
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder, one_core():
            file = Path(folder) / "video.mp4"
            write_video(file, seconds * RATE, case.options)
            yield compare_throughput(
                f"clips of {SAMPLING.frames} frames, stride {SAMPLING.stride}, from a video of {seconds} s, "
                f"{WIDTH} x {HEIGHT}, {RATE} frames/s, {case.name} (keyframes: {keyframes(file)})",
                readers(file, clips),
                (clips, "clips"),
                ("av", "albumentations", "torch"),
                rounds,
                device="one CPU core",
            )
