"""Which frames make a clip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np


class Sampling(ABC):
    """Chooses frames of a video. Where it ends too early, its last frame stays.

    Attributes:
        frames: T, of a clip.
    """

    frames: int

    @abstractmethod
    def random(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return the frames of a clip at a place drawn at random, (T,) int64 in 0..num_frames-1."""

    @abstractmethod
    def evenly(self, num_frames: int, clips: int) -> np.ndarray:
        """Return the frames of clips spread evenly over the video, (clips, T) int64 in 0..num_frames-1."""

    @abstractmethod
    def sliding(self, num_frames: int) -> np.ndarray:
        """Return the frames of clips that pass over the whole video, (clips, T) int64 in 0..num_frames-1."""


@dataclass
class Dense(Sampling):
    """Neighbouring frames.

    Args:
        frames: T, of a clip.
        stride: from one of them to the next in the video.
    """

    frames: int = 16
    stride: int = 2

    def __post_init__(self) -> None:
        if min(self.frames, self.stride) < 1:
            raise ValueError(f"frames is {self.frames} and stride {self.stride}; both are 1 or more.")

    @property
    def span(self) -> int:
        """Frames of the video from the first of a clip to the last."""
        return (self.frames - 1) * self.stride + 1

    def random(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        return self._from(np.array([rng.integers(max(0, num_frames - self.span) + 1)]), num_frames)[0]

    def evenly(self, num_frames: int, clips: int) -> np.ndarray:
        room = max(0, num_frames - self.span)
        places = np.full(1, 0.5) if clips == 1 else np.arange(clips) / (clips - 1)
        return self._from(np.rint(places * room), num_frames)

    def sliding(self, num_frames: int) -> np.ndarray:
        return self.evenly(num_frames, 1 + -(-max(0, num_frames - self.span) // max(1, self.span // 2)))

    def _from(self, starts: np.ndarray, num_frames: int) -> np.ndarray:
        steps = np.arange(self.frames) * self.stride
        return np.minimum(starts[:, None].astype(np.int64) + steps, num_frames - 1)


@dataclass
class Segments(Sampling):
    """One frame of each of T parts of the video, which are equally long.

    Temporal Segment Networks, Wang et al. 2016, https://arxiv.org/abs/1608.00859.

    Args:
        frames: T, the parts.
    """

    frames: int = 8

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames is {self.frames}; a clip has 1 or more.")

    def random(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        return self._at(rng.random(self.frames), num_frames)

    def evenly(self, num_frames: int, clips: int) -> np.ndarray:
        return np.stack([self._at(np.full(self.frames, (clip + 0.5) / clips), num_frames) for clip in range(clips)])

    def sliding(self, num_frames: int) -> np.ndarray:
        return self.evenly(num_frames, 1)  # a clip is the whole video

    def _at(self, places: np.ndarray, num_frames: int) -> np.ndarray:
        """Return the frames at these places of their parts, in 0..1."""
        return np.floor((np.arange(self.frames) + places) * num_frames / self.frames).astype(np.int64)
