"""Mosaic of four training images."""

from __future__ import annotations

from typing import Any, ClassVar

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.combining.canvas import blank, draw_image
from vertebra.tasks.detection.combining.combination import Combination, Draw, checked_scale
from vertebra.tasks.detection.transforms import LabeledImage, scaled

_MIDDLE = (0.25, 0.75)  # of the side, in which the four images meet


class Mosaic(Combination):
    """Four images around a random point of a square canvas, each with a quarter that it may fill.

    YOLOv4, Bochkovskiy et al. 2020, https://arxiv.org/abs/2004.10934, with the scales of YOLOX, Ge et al. 2021,
    https://arxiv.org/abs/2107.08430. YOLOX makes a canvas of twice the side and warps it; here each image is resized
    once, to its final scale, and there is no rotation and no shear: these are transforms of `augment`.

    Args:
        scale: lowest and highest size of an image, relative to one whose longer side is that of the canvas; drawn once
            for the four.
        switch: `p` and `last_epochs_off`, see `Combination`.

    Raises:
        ValueError: `scale` is not two factors above 0 in order.
    """

    further: ClassVar[int] = 3

    def __init__(self, scale: tuple[float, float] = (0.5, 1.5), **switch: Any) -> None:
        super().__init__(**switch)
        self.scale = checked_scale(self, scale)

    def __call__(self, image: LabeledImage, draw: Draw) -> LabeledImage:
        zoom = draw.rng.uniform(*self.scale)
        x, y = (draw.rng.uniform(*_MIDDLE, 2) * draw.side).astype(int).tolist()
        canvas = blank(draw.side, draw.side, image.image.shape[2])
        seen = []
        for place in range(4):
            one = image if place == 0 else draw.another()
            one, _ = scaled(one, zoom * draw.side / max(one.image.shape[:2]))
            height, width = one.image.shape[:2]
            # each touches the point with a corner, and so stays in its quarter
            corner = x if place % 2 else x - width, y if place // 2 else y - height
            seen.append(draw_image(canvas, one, corner))
        return LabeledImage(canvas, Instances.concatenate(seen))
