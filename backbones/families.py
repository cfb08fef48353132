"""What a network does not know about itself: the size at which its family counts operations, and who publishes weights.

Sizes are those of the papers' tables or of pytorchvideo's
(https://github.com/facebookresearch/pytorchvideo/blob/main/docs/source/model_zoo.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import NamedTuple

from vertebra.backbones.backbone import Level
from vertebra.backbones.timm_bridge import is_timms

IMAGENET = (224, 224)
CIFAR = (32, 32)


class Family(NamedTuple):
    """A group of networks for clips or volumes.

    Attributes:
        pattern: shell pattern of their names.
        size: (T, H, W) of the input whose operations are counted.
        publisher: of weights, beside torchvision and timm, which publish under the same names; empty if there is none.
    """

    pattern: str
    size: tuple[int, int, int]
    publisher: str = ""


# the first that fits counts
FAMILIES = (
    Family("ts[nm]:*", (8, 224, 224)),
    Family("slowfast_*", (32, 256, 256), "pytorchvideo"),
    Family("csn_*", (32, 256, 256), "pytorchvideo"),
    Family("r2plus1d_r50", (16, 256, 256), "pytorchvideo"),
    Family("x3d_s", (13, 182, 182), "pytorchvideo"),
    Family("x3d_m", (16, 256, 256), "pytorchvideo"),
    Family("slow_*", (8, 256, 256), "pytorchvideo"),
    Family("i3d_*", (8, 256, 256), "pytorchvideo"),
    Family("c2d_*", (8, 256, 256), "pytorchvideo"),
    Family("resnet18s_3d", (28, 28, 28)),
    Family("*_3d", (64, 64, 64), "MedicalNet"),
    Family("*", (16, 112, 112)),
)


def input_size(name: str, levels: Sequence[Level]) -> tuple[int, ...]:
    """Return (H, W) or (T, H, W) of the input at which the family of the backbone `name` counts its operations."""
    if not isinstance(levels[0].reduction, int):
        return _family(name).size
    return CIFAR if levels[0].reduction == 1 else IMAGENET  # who keeps every pixel was made for few


def publishers(name: str) -> list[str]:
    """Return whose weights load into the backbone `name`."""
    from torchvision.models import list_models  # a second of imports that only this needs

    of_images = name.removeprefix("tsn:").removeprefix("tsm:")
    found = ["torchvision"] if of_images in list_models() else []
    found += ["timm"] if is_timms(of_images.removeprefix("timm:")) else []
    return found + [publisher for publisher in (_family(name).publisher,) if publisher]


def _family(name: str) -> Family:
    return next(family for family in FAMILIES if fnmatch(name, family.pattern))
