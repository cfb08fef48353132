"""Resizing and augmentation of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np

from vertebra.tasks.loading.files.resizing import resized_by

_LONGEST = 16  # times the size that the network sees: a longer image is cut before it is enlarged


@dataclass
class Resize:
    """Resize an image with its aspect ratio, and take the center crop.

    Args:
        size: height and width of the network's input, in pixels.
        crop: fraction of the height or width that the crop keeps, whichever is smaller; below 1 it leaves out a margin,
            as ImageNet is conventionally evaluated (224 of 256 pixels).
    """

    size: tuple[int, int] = (224, 224)
    crop: float = 0.875

    def __post_init__(self) -> None:
        self.size = (self.size[0], self.size[1])
        if min(self.size) < 1 or not 0 < self.crop <= 1:
            raise ValueError(
                f"size is {self.size} and crop {self.crop}; give a height and width of 1 pixel or more, and a crop "
                "above 0 and up to 1."
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return (size[0], size[1], C) uint8 of (H, W, C) uint8."""
        height, width = image.shape[:2]
        scale = max(self.size[0] / height, self.size[1] / width) / self.crop
        # rounding must not leave the scaled image a pixel short of the crop
        scaled = max(self.size[0], round(height * scale)), max(self.size[1], round(width * scale))
        if max(scaled) > _LONGEST * max(self.size):  # a long strip, most of which would be enlarged only to be cropped
            axis = 0 if height > width else 1
            side, kept = image.shape[axis], math.ceil(self.size[axis] / scale) + 2
            if kept < side:
                start = (side - kept) // 2
                return self(image[start : start + kept] if axis == 0 else image[:, start : start + kept])
        if scaled != (height, width):
            image = resized_by(image, *scaled, cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR)
        top, left = (scaled[0] - self.size[0]) // 2, (scaled[1] - self.size[1]) // 2
        return image[top : top + self.size[0], left : left + self.size[1]]


class Augment:
    """Albumentations transforms of training images; an output of another size is resized as in evaluation.

    Args:
        transforms: any of albumentations' image transforms, in order.
        resize: to the size of the network's input.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform | A.BaseCompose], resize: Resize) -> None:
        self.compose = A.Compose(list(transforms))
        self.resize = resize

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Return the augmented image; the same `seed` gives the same result in any worker."""
        self.compose.set_random_seed(seed)
        image = self.compose(image=image)["image"]
        return image if image.shape[:2] == self.resize.size else self.resize(image)
