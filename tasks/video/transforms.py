"""Resizing and augmentation of clips, the same for every frame of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np


@dataclass
class Resize:
    """Resize frames to the size of the network's input.

    Args:
        size: height and width, in pixels.
        crops: 1 is the center crop; 3 are crops along the longer side, at both ends and in the middle, each a view of
            its own in evaluation.
        squeeze: scale height and width independently, without a crop.
    """

    size: tuple[int, int] = (112, 112)
    crops: int = 1
    squeeze: bool = False

    def __post_init__(self) -> None:
        self.size = (self.size[0], self.size[1])
        if min(self.size) < 1 or self.crops not in (1, 3) or (self.squeeze and self.crops > 1):
            raise ValueError(
                f"size is {self.size}, crops {self.crops}, squeeze {self.squeeze}; give a height and width of 1 or "
                "more, and 1 or 3 crops, of squeezed frames 1."
            )

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Return (crops, T, size[0], size[1], 3) uint8 of (T, H, W, 3) uint8."""
        height, width = frames.shape[1:3]
        scaled = self.size
        if not self.squeeze:
            scale = max(self.size[0] / height, self.size[1] / width)
            scaled = max(self.size[0], round(height * scale)), max(self.size[1], round(width * scale))
        frames = resized(frames, scaled)
        room = scaled[0] - self.size[0], scaled[1] - self.size[1]
        places = (0.5,) if self.crops == 1 else (0.0, 0.5, 1.0)
        corners = [(round(place * room[0]), round(place * room[1])) for place in places]
        return np.stack(
            [frames[:, top : top + self.size[0], left : left + self.size[1]] for top, left in corners], axis=0
        )


class Augment:
    """Albumentations transforms with the same parameters for all frames of a clip, and flips.

    Args:
        transforms: any of albumentations' image transforms, in order.
        resize: applied where their output has another size.
        flip: probability of a left-right flip.
        no_flip_classes: labels of the classes in which left and right matter.
    """

    def __init__(
        self,
        transforms: Sequence[A.BasicTransform | A.BaseCompose],
        resize: Resize,
        flip: float = 0.5,
        no_flip_classes: frozenset[int] = frozenset(),
    ) -> None:
        if not 0 <= flip <= 1:
            raise ValueError(f"flip is {flip}; it is a probability, 0..1.")
        self.compose = A.Compose(list(transforms))
        self.resize = resize
        self.flip = flip
        self.no_flip_classes = no_flip_classes

    def __call__(self, frames: np.ndarray, label: int, seed: int) -> np.ndarray:
        """Return the clip (T, h, w, 3) of (T, H, W, 3) uint8, augmented alike in any worker for one `seed`."""
        self.compose.set_random_seed(seed)
        frames = self.compose(images=frames)["images"]
        if label not in self.no_flip_classes and np.random.default_rng(seed).random() < self.flip:
            frames = frames[:, :, ::-1]
        if frames.shape[1:3] == self.resize.size:
            return frames
        views = self.resize(frames)
        return views[len(views) // 2]


def resized(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return frames (T, H, W, 3) uint8 scaled to a height and width."""
    if frames.shape[1:3] == tuple(size):
        return frames
    smaller = size[0] < frames.shape[1] / 2 or size[1] < frames.shape[2] / 2
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (size[1], size[0]), interpolation=interpolation) for frame in frames])
