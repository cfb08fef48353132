"""Chance in training, by MONAI's transforms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

# MONAI is imported where it is used: it takes seconds, and is not there for who has no medical images
Transform = Callable[[Any], Any]

_DEGREES = math.pi / 180


class Augment:
    """MONAI transforms of arrays, such as `monai.transforms.RandFlip`, in order; some may be deterministic.

    Args:
        transforms: they take channels first, (C, H, W) or (C, D, H, W), and keep the size.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        from monai.transforms import Compose

        self.compose = Compose(list(transforms))

    def __call__(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        """Return augmented pixels, float32; the same `seed` gives the same result in any worker.

        Raises:
            ValueError: the transforms changed the size.
        """
        self.compose.set_random_state(seed)
        # a copy, since some transforms write into what they are given
        out = np.asarray(self.compose(torch.tensor(pixels)), dtype=np.float32)
        if out.shape != pixels.shape:
            raise ValueError(
                f"data.augment made {out.shape} of {pixels.shape}; it has to keep the size, which data.resample.size "
                "sets. Take out the transform that changes it, or have it keep the size."
            )
        return out


def usual_transforms(size: Sequence[int]) -> list[Transform]:
    """Return what suits most scans: small turns, shifts and changes of size, brightness and contrast, but no flips.

    The heart is on the left: a network that is shown mirrored patients does not learn that.

    Args:
        size: height and width, or depth, height and width, in pixels.
    """
    from monai.transforms import RandAffine, RandScaleIntensity, RandShiftIntensity

    dim = len(size)
    return [
        RandAffine(
            prob=0.8,
            rotate_range=[10 * _DEGREES] * (1 if dim == 2 else 3),
            scale_range=[0.1] * dim,
            translate_range=[0.05 * length for length in size],
            padding_mode="border",
        ),
        RandScaleIntensity(factors=0.1, prob=0.8),
        RandShiftIntensity(offsets=0.1, prob=0.8),
    ]
