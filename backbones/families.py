"""Reference input sizes for operation counts, and publishers of weights, for each family of networks.

Sizes are those of the papers' tables or of pytorchvideo's
(https://github.com/facebookresearch/pytorchvideo/blob/main/docs/source/model_zoo.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import NamedTuple

from vertebra.backbones.backbone import Level
from vertebra.backbones.timm_bridge import is_timm_model

IMAGENET = (224, 224)
CIFAR = (32, 32)


class Family(NamedTuple):
    """Family of networks.

    Attributes:
        pattern: shell pattern of their names.
        size: (T, H, W) of the input for operation counts; unused for images.
        publisher: of weights, besides torchvision and timm, which use the same names; empty if there is none.
    """

    pattern: str
    size: tuple[int, int, int]
    publisher: str = ""


# the first matching pattern applies
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
    Family("resnet*_v[12]", (1, 224, 224), "keras"),
    Family("resnet18s_3d", (28, 28, 28)),
    Family("*_3d", (64, 64, 64), "MedicalNet"),
    Family("*", (16, 112, 112)),
)


def input_size(name: str, levels: Sequence[Level]) -> tuple[int, ...]:
    """Return the input size for operation counts of a backbone, (H, W) or (T, H, W)."""
    if not isinstance(levels[0].reduction, int):
        return _family(name).size
    return CIFAR if levels[0].reduction == 1 else IMAGENET  # a first level at full resolution marks a CIFAR network


def publishers(name: str) -> list[str]:
    """Return the publishers whose weights load into a backbone."""
    from torchvision.models import list_models  # takes a second to import

    image_network = name.removeprefix("tsn:").removeprefix("tsm:")
    found = ["torchvision"] if image_network in list_models() else []
    found += ["timm"] if is_timm_model(image_network.removeprefix("timm:")) else []
    return found + [publisher for publisher in (_family(name).publisher,) if publisher]


def _family(name: str) -> Family:
    return next(family for family in FAMILIES if fnmatch(name, family.pattern))
