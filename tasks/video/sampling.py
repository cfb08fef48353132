"""Temporal sampling: dense clips and TSN segments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np


class Sampling(ABC):
    """Base class of temporal sampling. A video shorter than a clip is padded with its last frame.

    Attributes:
        frames: T, frames per clip.
    """

    frames: int

    @abstractmethod
    def random(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return the frame indices of a randomly placed clip, (T,) int64 in 0..num_frames-1."""

    @abstractmethod
    def uniform(self, num_frames: int, clips: int) -> np.ndarray:
        """Return the frame indices of uniformly spaced clips, (clips, T) int64 in 0..num_frames-1."""

    @abstractmethod
    def sliding(self, num_frames: int) -> np.ndarray:
        """Return the frame indices of sliding-window clips over the video, (clips, T) int64 in 0..num_frames-1."""


@dataclass
class Dense(Sampling):
    """Dense sampling: T frames at a constant stride.

    Args:
        frames: T, frames per clip.
        stride: temporal stride in frames of the video.
    """

    frames: int = 16
    stride: int = 2

    def __post_init__(self) -> None:
        if min(self.frames, self.stride) < 1:
            raise ValueError(f"frames is {self.frames} and stride {self.stride}; expected 1 or more for both.")

    @property
    def span(self) -> int:
        """Temporal extent of a clip, in frames of the video."""
        return (self.frames - 1) * self.stride + 1

    def random(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        return self._clips_at(np.array([rng.integers(max(0, num_frames - self.span) + 1)]), num_frames)[0]

    def uniform(self, num_frames: int, clips: int) -> np.ndarray:
        last_start = max(0, num_frames - self.span)
        # a single clip is centered; several include both ends
        fractions = np.full(1, 0.5) if clips == 1 else np.arange(clips) / (clips - 1)
        return self._clips_at(np.rint(fractions * last_start), num_frames)

    def sliding(self, num_frames: int) -> np.ndarray:
        # as many clips as make neighbors overlap by at least half
        return self.uniform(num_frames, 1 + -(-max(0, num_frames - self.span) // max(1, self.span // 2)))

    def _clips_at(self, starts: np.ndarray, num_frames: int) -> np.ndarray:
        offsets = np.arange(self.frames) * self.stride
        return np.minimum(starts[:, None].astype(np.int64) + offsets, num_frames - 1)


@dataclass
class Segments(Sampling):
    """Sparse sampling: one frame from each of T segments of equal length.

    Temporal Segment Networks, Wang et al. 2016, https://arxiv.org/abs/1608.00859.

    Args:
        frames: T, number of segments.
    """

    frames: int = 8

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames is {self.frames}; expected 1 or more segments.")

    def random(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        return self._frames_at(rng.random(self.frames), num_frames)

    def uniform(self, num_frames: int, clips: int) -> np.ndarray:
        fractions = (np.arange(clips) + 0.5) / clips  # a single clip takes the center of each segment
        return np.stack([self._frames_at(np.full(self.frames, fraction), num_frames) for fraction in fractions])

    def sliding(self, num_frames: int) -> np.ndarray:
        return self.uniform(num_frames, 1)  # a single clip covers the whole video

    def _frames_at(self, fractions: np.ndarray, num_frames: int) -> np.ndarray:
        """Return the frame of each segment at a relative position (T,) in 0..1 within it."""
        return np.floor((np.arange(self.frames) + fractions) * num_frames / self.frames).astype(np.int64)
