"""Large-scale jitter."""

from __future__ import annotations

from typing import Any

from vertebra.tasks.detection.combining.canvas import blank, draw_image, random_corner
from vertebra.tasks.detection.combining.combination import Combination, Draw, checked_scale
from vertebra.tasks.detection.transforms import LabeledImage, scaled


class LargeScaleJitter(Combination):
    """An image at a random scale on a square canvas: a crop of it where it is larger, gray around it where smaller.

    Simple Copy-Paste, Ghiasi et al. 2021, https://arxiv.org/abs/2012.07177. The paper's is from 0.1 to 2, and standard
    scale jitter from 0.8 to 1.25.

    Args:
        scale: lowest and highest size of the image, relative to one whose longer side is that of the canvas.
        switch: `p` and `last_epochs_off`, see `Combination`.

    Raises:
        ValueError: `scale` is not two factors above 0 in order.
    """

    def __init__(self, scale: tuple[float, float] = (0.1, 2.0), **switch: Any) -> None:
        super().__init__(**switch)
        self.scale = checked_scale(self, scale)

    def __call__(self, image: LabeledImage, draw: Draw) -> LabeledImage:
        one, _ = scaled(image, draw.rng.uniform(*self.scale) * draw.side / max(image.image.shape[:2]))
        canvas = blank(draw.side, draw.side, image.image.shape[2])
        corner = random_corner(draw.rng, one.image.shape[:2], (draw.side, draw.side))
        return LabeledImage(canvas, draw_image(canvas, one, corner))
