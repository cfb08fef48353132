"""Mixup of two training images for detection."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.combining.canvas import blank, draw_image, random_corner
from vertebra.tasks.detection.combining.combination import Combination, Draw, checked_scale
from vertebra.tasks.detection.transforms import LabeledImage, scaled


class MixUp(Combination):
    """The mean of an image and another one, with the objects of both.

    Bag of Freebies for detection, Zhang et al. 2019, https://arxiv.org/abs/1902.04103, in the form of YOLOX, Ge et al.
    2021, https://arxiv.org/abs/2107.08430: both in equal parts, each object with full weight, and the other image at a
    scale and place of its own.

    Args:
        scale: lowest and highest size of the other image, relative to one that just fits into the first.
        switch: `p` and `last_epochs_off`, see `Combination`.

    Raises:
        ValueError: `scale` is not two factors above 0 in order.
    """

    further: ClassVar[int] = 1

    def __init__(self, scale: tuple[float, float] = (0.5, 1.5), **switch: Any) -> None:
        super().__init__(**switch)
        self.scale = checked_scale(self, scale)

    def __call__(self, image: LabeledImage, draw: Draw) -> LabeledImage:
        height, width, channels = image.image.shape
        other = draw.another()
        fit = min(height / other.image.shape[0], width / other.image.shape[1])
        other, _ = scaled(other, draw.rng.uniform(*self.scale) * fit)
        canvas = blank(height, width, channels)
        seen = draw_image(canvas, other, random_corner(draw.rng, other.image.shape[:2], (height, width)))
        mixed = cv2.addWeighted(image.image, 0.5, canvas, 0.5, 0).reshape(image.image.shape)
        return LabeledImage(mixed, Instances.concatenate([image.instances, seen]))
