"""Joint transforms of images and masks; masks are resampled with nearest neighbor only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np

from vertebra.tasks.loading.files.resizing import resized
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

_MAX_TRIES = 10  # crops drawn before one above `max_class_fraction` is accepted, as in mmsegmentation


@dataclass
class Resize:
    """Resize to the input size of evaluation.

    Args:
        size: height and width in pixels; None keeps the size of the file.
    """

    size: tuple[int, int] | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the resized image (h, w, C) uint8 of (H, W, C) uint8."""
        if self.size is None or image.shape[:2] == tuple(self.size):
            return image
        return resized(image, self.size[0], self.size[1])


@dataclass
class RandomCrop:
    """Random scaling and cropping with a limit on the dominant class.

    Where the crop exceeds the image it is padded with black, and its mask with `IGNORE_INDEX`.

    Args:
        size: height and width of the crop.
        scale: minimum and maximum scale factor, relative to the file.
        max_class_fraction: maximum fraction of labeled pixels of a single class, above 0 and at most 1; a crop above it
            is redrawn up to ten times.
    """

    size: tuple[int, int] = (512, 512)
    scale: tuple[float, float] = (0.5, 2.0)
    max_class_fraction: float = 0.75

    def __post_init__(self) -> None:
        if min(self.size) < 1 or not 0 < self.scale[0] <= self.scale[1] or not 0 < self.max_class_fraction <= 1:
            raise ValueError(
                f"crop has size {self.size}, scale {self.scale} and max_class_fraction {self.max_class_fraction}; "
                "expected 1 pixel or more, two factors above 0 in ascending order, and a fraction above 0 and up to 1."
            )

    def __call__(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the crop of an image (H, W, C) uint8 and of its mask (H, W) uint8."""
        # log-uniform, so that halving and doubling are equally likely
        factor = float(np.exp(rng.uniform(np.log(self.scale[0]), np.log(self.scale[1]))))
        height, width = (max(1, round(side * factor)) for side in mask.shape)
        image = resized(image, height, width)
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        pad_height, pad_width = max(0, self.size[0] - height), max(0, self.size[1] - width)
        for _ in range(_MAX_TRIES):
            top = int(rng.integers(height + pad_height - self.size[0] + 1))
            left = int(rng.integers(width + pad_width - self.size[1] + 1))
            window = (slice(top, top + self.size[0]), slice(left, left + self.size[1]))
            if _max_class_fraction(mask[window]) <= self.max_class_fraction:
                break
        pad_top, pad_left = (int(rng.integers(padding + 1)) for padding in (pad_height, pad_width))
        borders = (pad_top, pad_height - pad_top, pad_left, pad_width - pad_left)
        crop = image[window]
        # by slicing, since images may have more channels than OpenCV's border functions have fill values
        padded = np.zeros((*self.size, image.shape[2]), dtype=np.uint8)
        padded[pad_top : pad_top + crop.shape[0], pad_left : pad_left + crop.shape[1]] = crop
        return padded, cv2.copyMakeBorder(mask[window], *borders, cv2.BORDER_CONSTANT, value=(IGNORE_INDEX,))


class Augment:
    """Training augmentation: a random crop, then albumentations transforms of image and mask.

    Args:
        crop: the random crop.
        transforms: albumentations transforms that support masks, applied in order after the crop. Masks are
            interpolated with nearest neighbor and filled with `IGNORE_INDEX`.
    """

    def __init__(self, crop: RandomCrop, transforms: Sequence[A.BasicTransform | A.BaseCompose] = ()) -> None:
        self.crop = crop
        # OpenCV has no INTER_NEAREST_EXACT for affine transforms and remapping
        self.compose = A.Compose(list(transforms), mask_interpolation=cv2.INTER_NEAREST) if transforms else None
        for transform in _flatten(transforms):
            if hasattr(transform, "fill_mask"):  # the default of 0 would label the filled border as class 0
                transform.fill_mask = IGNORE_INDEX

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the augmented image (h, w, C) and mask (h, w), a function of `seed` alone in any worker."""
        image, mask = self.crop(image, mask, np.random.default_rng(seed))
        if self.compose is None:
            return image, mask
        self.compose.set_random_seed(seed)
        result = self.compose(image=image, mask=mask)
        return result["image"], result["mask"]


def _flatten(transforms: Sequence[A.BasicTransform | A.BaseCompose]) -> list[A.BasicTransform]:
    leaves: list[A.BasicTransform] = []
    for transform in transforms:
        leaves += _flatten(transform.transforms) if isinstance(transform, A.BaseCompose) else [transform]
    return leaves


def _max_class_fraction(mask: np.ndarray) -> float:
    """Return the fraction of labeled pixels of the most frequent class; 1 if no pixel is labeled."""
    counts = np.bincount(mask.ravel(), minlength=256)
    counts[IGNORE_INDEX] = 0
    return float(counts.max() / counts.sum()) if counts.any() else 1.0
