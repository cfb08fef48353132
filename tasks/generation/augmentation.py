"""Differentiable augmentation of real and generated images alike, for training on few images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["color", "translation", "cutout"]

_SHIFT = 1 / 8  # of a side, at most, in either direction
_CUTOUT = 1 / 2  # of a side


class DiffAugment:
    """Random color, translation and cutout of each image, through which gradients reach the generator.

    Differentiable Augmentation for Data-Efficient GAN Training, Zhao et al. 2020, https://arxiv.org/abs/2006.10738.
    What the discriminator sees of real images must not differ from what it sees of generated ones, so that both are
    augmented, also where the generator is trained; the generator does not learn the augmentation.

    Args:
        kinds: any of `color`, `translation` and `cutout`; none for no augmentation.

    Raises:
        ValueError: there is no such kind.
    """

    def __init__(self, kinds: Sequence[Kind] = get_args(Kind)) -> None:
        if unknown := [kind for kind in kinds if kind not in _FUNCTIONS]:
            raise ValueError(f"augmentation {unknown[0]!r} does not exist; choose from {', '.join(_FUNCTIONS)}.")
        self.kinds = tuple(kinds)

    def __call__(self, images: Tensor) -> Tensor:
        """Return augmented images (N, 3, H, W), whose values may leave -1..1."""
        for kind in self.kinds:
            images = _FUNCTIONS[kind](images)
        return images


def _color(images: Tensor) -> Tensor:
    """Shift brightness by up to 0.5, and scale saturation by 0 to 2 and contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, device=images.device, dtype=images.dtype)
    images = images + brightness - 0.5
    gray = images.mean(dim=1, keepdim=True)
    images = gray + (images - gray) * 2 * saturation
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def _translation(images: Tensor) -> Tensor:
    """Translate by whole pixels; what comes in from outside is 0, the gray in the middle of -1..1."""
    height, width = images.shape[2:]
    shifts = [round(side * _SHIFT) for side in (height, width)]
    down, right = (torch.randint(-shift, shift + 1, (len(images), 1), device=images.device) for shift in shifts)
    rows = torch.arange(height, device=images.device) - down  # (N, H), those to read
    columns = torch.arange(width, device=images.device) - right
    # a frame of one pixel around the image, at which all rows and columns outside are read
    padded = F.pad(images, (1, 1, 1, 1)).movedim(1, -1)
    rows, columns = (rows + 1).clamp(0, height + 1), (columns + 1).clamp(0, width + 1)
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _cutout(images: Tensor) -> Tensor:
    """Set a square of half the side to 0, anywhere, also in part outside."""
    inside = []
    for side in images.shape[2:]:
        length = round(side * _CUTOUT)
        center = torch.randint(0, side + 1 - length % 2, (len(images), 1), device=images.device)
        start = center - length // 2
        place = torch.arange(side, device=images.device)
        inside.append((place >= start) & (place < start + length))  # (N, side)
    cut = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(cut, 0.0)


_FUNCTIONS: Mapping[Kind, Callable[[Tensor], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
