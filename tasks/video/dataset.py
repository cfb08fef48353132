"""Data set and batches of clips of videos with one label each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.loading.dataset import Missing, Read, TaskDataset, samples_of
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.video.decoding import Decoder, open_video
from vertebra.tasks.video.sampling import Sampling
from vertebra.tasks.video.transforms import Augment, Resize


class Sample(NamedTuple):
    """The clips of one video.

    Attributes:
        views: (V, T, H, W, 3) uint8 RGB.
        times: (V, T) float64, when each frame is shown, in seconds.
        label: in 0..K-1, or -1 where unlabeled.
        position: index of the video in its split.
        name: its path.
        group: where it comes from (a recording, a camera); its path where that is unknown.
    """

    views: np.ndarray
    times: np.ndarray
    label: int
    position: int
    name: str
    group: str


class VideoBatch(NamedTuple):
    """The batch of a training or evaluation step.

    Attributes:
        clips: (N, V, 3, T, H, W) uint8, V views of each video; channels innermost in memory.
        times: (N, V, T) float64, when each frame is shown, in seconds.
        labels: (N,) int64 in 0..K-1, -1 where unlabeled.
        indices: (N,) int64, index of each video in its split.
        names: paths, one a video.
        groups: one a video, where it comes from; its path where that is unknown.
        skipped: what could not be read, one message a file.
    """

    clips: Tensor
    times: Tensor
    labels: Tensor
    indices: Tensor
    names: list[str]
    groups: list[str]
    skipped: list[str]


class VideoDataset(TaskDataset[Sample]):
    """Decodes, augments and resizes clips of the videos of one split.

    Args:
        videos: files and labels.
        sampling: which frames make a clip.
        resize: to the size of the network's input.
        augment: for training, else None.
        clips: per video: random in training, each augmented independently; else evenly spaced.
        decoder: see `open_video`.
        missing: see `TaskDataset`.
    """

    def __init__(
        self,
        videos: LabeledFiles,
        sampling: Sampling,
        resize: Resize,
        augment: Augment | None = None,
        clips: int = 1,
        decoder: Decoder = "pyav",
        missing: Missing = "error",
    ) -> None:
        super().__init__(len(videos), missing)
        self.videos = videos
        self.sampling = sampling
        self.resize = resize
        self.augment = augment
        self.clips = clips
        self.decoder = decoder

    def read(self, index: int, draw: SampleRequest | None) -> Sample:
        name, label = str(self.videos.names[index]), int(self.videos.labels[index])
        group = name if self.videos.groups is None else str(self.videos.groups[index])
        with open_video(name, self.decoder) as video:
            count = len(video.timestamps)
            if draw is None:
                indices = self.sampling.evenly(count, self.clips)
            else:
                rng = np.random.default_rng(draw.seed)
                indices = np.stack([self.sampling.random(count, rng) for _ in range(self.clips)])
            frames = video.read(indices.ravel())  # one pass over the file for all clips
            times = video.timestamps[indices]
        clips = frames.reshape(*indices.shape, *frames.shape[1:])
        if draw is None or self.augment is None:
            views = np.stack([self.resize(clip) for clip in clips], axis=0)
            views, times = views.reshape(-1, *views.shape[2:]), times.repeat(views.shape[1], axis=0)
            return Sample(views, times, label, index, name, group)
        augmented = [self.augment(clip, label, draw.seed + number) for number, clip in enumerate(clips)]
        return Sample(np.stack(augmented), times, label, index, name, group)


def collate(reads: Sequence[Read[Sample]]) -> VideoBatch:
    """Stack videos; a batch of which nothing could be read has none."""
    samples, skipped = samples_of(reads)
    views = np.stack([one.views for one in samples]) if samples else np.zeros((0, 1, 0, 0, 0, 3), dtype=np.uint8)
    times = np.stack([one.times for one in samples]) if samples else np.zeros((0, 1, 0))
    return VideoBatch(
        clips=torch.from_numpy(views).permute(0, 1, 5, 2, 3, 4),
        times=torch.from_numpy(times),
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        indices=torch.tensor([sample.position for sample in samples], dtype=torch.int64),
        names=[sample.name for sample in samples],
        groups=[sample.group for sample in samples],
        skipped=skipped,
    )
