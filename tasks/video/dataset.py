"""Dataset of video clips, and collation into batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.loading.dataset import Read, TaskDataset, samples_of
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.video.decoding import Decoder, open_video
from vertebra.tasks.video.sampling import Sampling
from vertebra.tasks.video.transforms import Augment, Resize
from vertebra.tasks.video.video import Video


class Sample(NamedTuple):
    """Views (clips and spatial crops) of a video.

    Attributes:
        views: (V, T, H, W, 3) uint8 RGB.
        times: (V, T) float64, presentation time of each frame in seconds.
        label: class in 0..K-1, or -1 if unlabeled.
        position: index of the video in its split.
        name: path of the video.
        group: source of the video (recording, camera); its path if unknown.
    """

    views: np.ndarray
    times: np.ndarray
    label: int
    position: int
    name: str
    group: str


class VideoBatch(NamedTuple):
    """Batch of videos with V views each.

    Attributes:
        clips: (N, V, 3, T, H, W) uint8 in channels-last memory format.
        times: (N, V, T) float64, presentation time of each frame in seconds.
        labels: (N,) int64 in 0..K-1, -1 if unlabeled.
        indices: (N,) int64, index of each video in its split.
        names: path of each video.
        groups: source of each video; its path if unknown.
        skipped: one message per unreadable file.
    """

    clips: Tensor
    times: Tensor
    labels: Tensor
    indices: Tensor
    names: list[str]
    groups: list[str]
    skipped: list[str]


class VideoDataset(TaskDataset[Sample]):
    """Video classification dataset: decoded, augmented and resized clips.

    Args:
        videos: files and labels of one split.
        sampling: temporal sampling of frames.
        resize: scaling to the network's input size.
        augment: training augmentation; None for evaluation.
        clips: clips per video: sampled at random and augmented independently in training, uniform in evaluation.
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

    def open(self, name: str) -> Video:
        """Open a video by its path; errors as for `open_video`."""
        return open_video(name, self.decoder)

    def read(self, index: int, draw: SampleRequest | None) -> Sample:
        name, label = str(self.videos.names[index]), int(self.videos.labels[index])
        group = name if self.videos.groups is None else str(self.videos.groups[index])
        with self.open(name) as video:
            num_frames = len(video.timestamps)
            if draw is None:
                indices = self.sampling.uniform(num_frames, self.clips)
            else:
                rng = np.random.default_rng(draw.seed)
                indices = np.stack([self.sampling.random(num_frames, rng) for _ in range(self.clips)])
            frames = video.read(indices.ravel())  # (clips * T, H, W, 3), in one pass over the file
            times = video.timestamps[indices]
        clips = frames.reshape(*indices.shape, *frames.shape[1:])
        if draw is None or self.augment is None:
            views = np.stack([self.resize(clip) for clip in clips], axis=0)
            # several spatial crops of a clip are views of their own, with the times of the clip
            views, times = views.reshape(-1, *views.shape[2:]), times.repeat(views.shape[1], axis=0)
            return Sample(views, times, label, index, name, group)
        augmented = [self.augment(clip, label, draw.seed + i) for i, clip in enumerate(clips)]
        return Sample(np.stack(augmented), times, label, index, name, group)


def collate(reads: Sequence[Read[Sample]]) -> VideoBatch:
    """Stack samples; a batch without readable videos has N = 0."""
    samples, skipped = samples_of(reads)
    empty = np.zeros((0, 1, 0, 0, 0, 3), dtype=np.uint8)
    views = np.stack([sample.views for sample in samples]) if samples else empty
    times = np.stack([sample.times for sample in samples]) if samples else np.zeros((0, 1, 0))
    return VideoBatch(
        # a permuted view, not a copy: the memory stays channels-last
        clips=torch.from_numpy(views).permute(0, 1, 5, 2, 3, 4),
        times=torch.from_numpy(times),
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        indices=torch.tensor([sample.position for sample in samples], dtype=torch.int64),
        names=[sample.name for sample in samples],
        groups=[sample.group for sample in samples],
        skipped=skipped,
    )
