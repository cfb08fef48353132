"""Layouts of SSD: the levels behind a backbone, and the shapes of the default boxes on each level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

LayoutName = Literal["300", "512", "lite320"]


class Window(NamedTuple):
    """Kernel, stride and padding of the convolution that makes a level of the one before."""

    kernel_size: int = 3
    stride: int = 2
    padding: int = 1


@dataclass(frozen=True)
class SSDLayout:
    """Levels and default boxes of an SSD; the defaults are SSD300.

    A backbone gives the first levels. The others are made one of the other, by halving, except for the last ones.

    Args:
        size: side in pixels of the square images that the boxes are for.
        finest: least reduction of the backbone's maps that are used.
        scales: sides of the boxes of each level over `size`, and one more.
        aspect_ratios: of each level, besides 1; each gives a wide and a high box.
        channels: of each level, where it is not the backbone's.
        last: the convolutions of the last levels.
        depthwise: as in SSDLite, heads and extra levels have depthwise convolutions.
    """

    size: int = 300
    finest: int = 8
    scales: tuple[float, ...] = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    aspect_ratios: tuple[tuple[float, ...], ...] = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    channels: tuple[int, ...] = (512, 512, 512, 256, 256, 256)
    last: tuple[Window, ...] = (Window(3, 1, 0), Window(3, 1, 0))
    depthwise: bool = False

    def __post_init__(self) -> None:
        num_levels = len(self.channels)
        if len(self.aspect_ratios) != num_levels or len(self.scales) != num_levels + 1:
            raise ValueError(
                f"an SSD of {num_levels} levels has {len(self.aspect_ratios)} aspect_ratios and {len(self.scales)} "
                "scales; give one entry of aspect_ratios a level, and one scale more than levels."
            )

    def box_sizes(self, level: int) -> list[tuple[float, float]]:
        """Return the (width, height) in pixels of the default boxes of a level, none longer than `size`."""
        scale, following = self.scales[level : level + 2]
        middle = math.sqrt(scale * following)
        sides = [(scale, scale), (middle, middle)]
        for ratio in self.aspect_ratios[level]:
            long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            sides += [(long, short), (short, long)]
        return [(self.size * min(width, 1.0), self.size * min(height, 1.0)) for width, height in sides]


# 300: torchvision's ssd300_vgg16. 512: the authors' for COCO, https://github.com/weiliu89/caffe/tree/ssd. lite320:
# torchvision's ssdlite320_mobilenet_v3_large.
LAYOUTS: dict[str, SSDLayout] = {
    "300": SSDLayout(),
    "512": SSDLayout(
        size=512,
        scales=(0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06),
        aspect_ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        channels=(512, 512, 512, 256, 256, 256, 256),
        last=(Window(4, 1, 1),),
    ),
    "lite320": SSDLayout(
        size=320,
        finest=16,
        scales=(0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
        aspect_ratios=((2, 3),) * 6,
        channels=(512, 512, 512, 256, 256, 128),
        last=(),
        depthwise=True,
    ),
}
