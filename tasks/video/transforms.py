"""Clip transforms: resizing and augmentation with the same parameters for every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np


@dataclass
class Resize:
    """Resize and crop to the input size of the network.

    Args:
        size: height and width in pixels.
        crops: 1 for the center crop; 3 for crops at both ends and at the center of the longer side, each a view of its
            own in evaluation.
        squeeze: stretch to the size instead of cropping, without keeping the aspect ratio.
    """

    size: tuple[int, int] = (112, 112)
    crops: int = 1
    squeeze: bool = False

    def __post_init__(self) -> None:
        self.size = (self.size[0], self.size[1])  # YAML gives a list, which would not compare equal to a shape
        if min(self.size) < 1 or self.crops not in (1, 3) or (self.squeeze and self.crops > 1):
            raise ValueError(
                f"size is {self.size}, crops {self.crops}, squeeze {self.squeeze}; expected a height and width of 1 or "
                "more, and 1 or 3 crops. With squeeze=true, leave crops at 1."
            )

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Return (crops, T, size[0], size[1], 3) uint8 of (T, H, W, 3) uint8."""
        height, width = frames.shape[1:3]
        scaled = self.size
        if not self.squeeze:
            scale = max(self.size[0] / height, self.size[1] / width)
            # rounding must not leave the scaled frame a pixel smaller than the crop
            scaled = max(self.size[0], round(height * scale)), max(self.size[1], round(width * scale))
        frames = resized(frames, scaled)
        margin = scaled[0] - self.size[0], scaled[1] - self.size[1]
        fractions = (0.5,) if self.crops == 1 else (0.0, 0.5, 1.0)
        corners = [(round(fraction * margin[0]), round(fraction * margin[1])) for fraction in fractions]
        return np.stack(
            [frames[:, top : top + self.size[0], left : left + self.size[1]] for top, left in corners], axis=0
        )


class Augment:
    """Training augmentation: albumentations transforms shared by all frames of a clip, and horizontal flips.

    Args:
        transforms: albumentations image transforms, applied in order.
        resize: applied if their output is not of the network's input size.
        flip: probability of a horizontal flip, in 0..1.
        no_flip_classes: labels of classes that are not mirror-symmetric, and never flipped.
    """

    def __init__(
        self,
        transforms: Sequence[A.BasicTransform | A.BaseCompose],
        resize: Resize,
        flip: float = 0.5,
        no_flip_classes: frozenset[int] = frozenset(),
    ) -> None:
        if not 0 <= flip <= 1:
            raise ValueError(f"flip is {flip}; expected a probability, 0 to 1.")
        self.compose = A.Compose(list(transforms))
        self.resize = resize
        self.flip = flip
        self.no_flip_classes = no_flip_classes

    def __call__(self, frames: np.ndarray, label: int, seed: int) -> np.ndarray:
        """Return the augmented clip (T, h, w, 3) of (T, H, W, 3) uint8, a function of `seed` alone in any worker."""
        self.compose.set_random_seed(seed)
        frames = self.compose(images=frames)["images"]
        if label not in self.no_flip_classes and np.random.default_rng(seed).random() < self.flip:
            frames = frames[:, :, ::-1]
        if frames.shape[1:3] == self.resize.size:
            return frames
        views = self.resize(frames)
        return views[len(views) // 2]  # the center crop, where evaluation takes three


def resized(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize frames (T, H, W, 3) uint8 to a height and width."""
    if frames.shape[1:3] == tuple(size):
        return frames
    # below half the size, bilinear interpolation skips pixels and aliases
    is_reduced = size[0] < frames.shape[1] / 2 or size[1] < frames.shape[2] / 2
    interpolation = cv2.INTER_AREA if is_reduced else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (size[1], size[0]), interpolation=interpolation) for frame in frames])
