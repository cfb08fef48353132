"""Image transforms: resizing with a center crop, and training augmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np

from vertebra.tasks.loading.files.resizing import resized_by

_MAX_LENGTH = 16  # times the input size; a longer resized image is cropped first, to bound memory


@dataclass
class Resize:
    """Resize with the aspect ratio kept, and center crop.

    Args:
        size: input height and width of the network, in pixels.
        crop: fraction of the shorter side that the crop keeps, above 0 and at most 1; 0.875 is the usual protocol of
            ImageNet (224 of 256 pixels).
    """

    size: tuple[int, int] = (224, 224)
    crop: float = 0.875

    def __post_init__(self) -> None:
        self.size = (self.size[0], self.size[1])  # YAML gives a list, which would not compare equal to a shape
        if min(self.size) < 1 or not 0 < self.crop <= 1:
            raise ValueError(
                f"size is {self.size} and crop {self.crop}; expected a height and width of 1 pixel or more, and a crop "
                "above 0 and up to 1."
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return (size[0], size[1], C) uint8 of (H, W, C) uint8."""
        height, width = image.shape[:2]
        scale = max(self.size[0] / height, self.size[1] / width) / self.crop
        # rounding must not leave the scaled image a pixel smaller than the crop
        scaled = max(self.size[0], round(height * scale)), max(self.size[1], round(width * scale))
        if max(scaled) > _MAX_LENGTH * max(self.size):  # an extreme aspect ratio: crop the longer side before resizing
            axis = 0 if height > width else 1
            side, kept = image.shape[axis], math.ceil(self.size[axis] / scale) + 2  # two pixels for rounding
            if kept < side:
                start = (side - kept) // 2
                return self(image[start : start + kept] if axis == 0 else image[:, start : start + kept])
        if scaled != (height, width):
            # below half the size, bilinear interpolation skips pixels and aliases
            image = resized_by(image, *scaled, cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR)
        top, left = (scaled[0] - self.size[0]) // 2, (scaled[1] - self.size[1]) // 2
        return image[top : top + self.size[0], left : left + self.size[1]]


class Augment:
    """Training augmentation by albumentations.

    Args:
        transforms: albumentations image transforms, applied in order.
        resize: evaluation transform, applied if their output is not of the network's input size.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform | A.BaseCompose], resize: Resize) -> None:
        self.compose = A.Compose(list(transforms))
        self.resize = resize

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Return the augmented image, a function of `seed` alone in any worker."""
        self.compose.set_random_seed(seed)
        image = self.compose(image=image)["image"]
        return image if image.shape[:2] == self.resize.size else self.resize(image)
