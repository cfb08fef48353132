"""Random augmentation of images and volumes with MONAI transforms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

# MONAI is imported where it is used: the import takes seconds, and the package is optional for the other tasks
Transform = Callable[[Any], Any]

_DEGREES = math.pi / 180


class Augment:
    """Composition of MONAI array transforms, such as `monai.transforms.RandFlip`; deterministic ones are allowed.

    Args:
        transforms: applied in order to channels-first arrays, (C, H, W) or (C, D, H, W), whose size they must keep.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        from monai.transforms import Compose

        self.compose = Compose(list(transforms))

    def __call__(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        """Return augmented pixels, float32; the same `seed` gives the same result in any worker.

        Raises:
            ValueError: the transforms changed the size.
        """
        # reseeded at every call: the result must not depend on which samples this worker has loaded before
        self.compose.set_random_state(seed)
        # torch.tensor copies; some transforms write into their input, which may be an array of the cache
        out = np.asarray(self.compose(torch.tensor(pixels)), dtype=np.float32)
        if out.shape != pixels.shape:
            raise ValueError(
                f"data.augment changed the size from {pixels.shape} to {out.shape}; expected the size to be kept, as "
                "data.resample.size sets it. Remove the transform that changes it, or configure it to keep the size."
            )
        return out


def usual_transforms(size: Sequence[int]) -> list[Transform]:
    """Return default transforms for most scans: small affine, brightness and contrast changes, but no flips.

    Anatomy is not mirror-symmetric: with flips a network cannot learn that the heart is on the left.

    Args:
        size: (H, W) or (D, H, W), in pixels.
    """
    from monai.transforms import RandAffine, RandScaleIntensity, RandShiftIntensity

    dim = len(size)
    return [
        RandAffine(
            prob=0.8,
            # one angle in the plane, or one about each of the three axes
            rotate_range=[10 * _DEGREES] * (1 if dim == 2 else 3),
            scale_range=[0.1] * dim,
            translate_range=[0.05 * length for length in size],
            # border values: zeros would add edges, as 0 is mid-gray after intensity scaling
            padding_mode="border",
        ),
        RandScaleIntensity(factors=0.1, prob=0.8),
        RandShiftIntensity(offsets=0.1, prob=0.8),
    ]
