"""Resizing, cropping and augmentation of images with masks. No mask is ever interpolated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np

from vertebra.tasks.loading.files.resizing import resized
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

_TRIES = 10  # crops that are drawn before one above the limit is accepted


@dataclass
class Resize:
    """Resize an image to the size of the network's input in evaluation.

    Args:
        size: height and width; None keeps the size of the file.
    """

    size: tuple[int, int] | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the image (H, W, C) uint8 in that size."""
        if self.size is None or image.shape[:2] == tuple(self.size):
            return image
        return resized(image, self.size[0], self.size[1])


@dataclass
class RandomCrop:
    """Random scale and crop, with a limit on the share of one class.

    Outside of the image a crop is black, and `IGNORE_INDEX` in the mask.

    Args:
        size: height and width of the part.
        scale: least and largest factor on the size of the file.
        max_class_fraction: largest part of the labeled pixels that one class may fill, in 0..1; a crop above it is
            drawn again, up to ten times.
    """

    size: tuple[int, int] = (512, 512)
    scale: tuple[float, float] = (0.5, 2.0)
    max_class_fraction: float = 0.75

    def __post_init__(self) -> None:
        if min(self.size) < 1 or not 0 < self.scale[0] <= self.scale[1] or not 0 < self.max_class_fraction <= 1:
            raise ValueError(
                f"crop has size {self.size}, scale {self.scale} and max_class_fraction {self.max_class_fraction}; "
                "expected pixels, two factors above 0, the smaller one first, and a part up to 1."
            )

    def __call__(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return a crop of an image (H, W, C) uint8 and of its mask (H, W) uint8."""
        # log-uniform, so that halving is as likely as doubling
        factor = float(np.exp(rng.uniform(np.log(self.scale[0]), np.log(self.scale[1]))))
        height, width = (max(1, round(side * factor)) for side in mask.shape)
        image = resized(image, height, width)
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        low, wide = max(0, self.size[0] - height), max(0, self.size[1] - width)
        for _ in range(_TRIES):
            top = int(rng.integers(height + low - self.size[0] + 1))
            left = int(rng.integers(width + wide - self.size[1] + 1))
            place = (slice(top, top + self.size[0]), slice(left, left + self.size[1]))
            if _largest_share(mask[place]) <= self.max_class_fraction:
                break
        above, before = (int(rng.integers(rest + 1)) for rest in (low, wide))
        sides = (above, low - above, before, wide - before)
        part = image[place]
        filled = np.zeros((*self.size, image.shape[2]), dtype=np.uint8)
        filled[above : above + part.shape[0], before : before + part.shape[1]] = part
        return filled, cv2.copyMakeBorder(mask[place], *sides, cv2.BORDER_CONSTANT, value=(IGNORE_INDEX,))


class Augment:
    """A random crop, and albumentations transforms that take the mask along.

    Args:
        crop: the crop.
        transforms: any of albumentations' transforms that can treat masks, in order, after the crop. Those that
            interpolate take the nearest label, and those that fill put `IGNORE_INDEX` into the mask.
    """

    def __init__(self, crop: RandomCrop, transforms: Sequence[A.BasicTransform | A.BaseCompose] = ()) -> None:
        self.crop = crop
        # OpenCV's exact kind cannot turn or warp
        self.compose = A.Compose(list(transforms), mask_interpolation=cv2.INTER_NEAREST) if transforms else None
        for transform in _every(transforms):
            if hasattr(transform, "fill_mask"):
                transform.fill_mask = IGNORE_INDEX

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the augmented image (h, w, C) and mask (h, w); the same `seed` gives the same in any worker."""
        image, mask = self.crop(image, mask, np.random.default_rng(seed))
        if self.compose is None:
            return image, mask
        self.compose.set_random_seed(seed)
        result = self.compose(image=image, mask=mask)
        return result["image"], result["mask"]


def _every(transforms: Sequence[A.BasicTransform | A.BaseCompose]) -> list[A.BasicTransform]:
    inner: list[A.BasicTransform] = []
    for transform in transforms:
        inner += _every(transform.transforms) if isinstance(transform, A.BaseCompose) else [transform]
    return inner


def _largest_share(mask: np.ndarray) -> float:
    """Return which part of the labeled pixels the most frequent class has; 1 where there is none."""
    counts = np.bincount(mask.ravel(), minlength=256)
    counts[IGNORE_INDEX] = 0
    return float(counts.max() / counts.sum()) if counts.any() else 1.0
