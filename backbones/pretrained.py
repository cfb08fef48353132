"""Published weights by name, from the publisher's own download cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

import torch
from torch import Tensor

from vertebra.backbones.timm_bridge import is_timm_model, timm_state_dict

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

TORCHVISION_ENUM = re.compile(r"\w+_Weights\.\w+")
FILE_TYPES = ("pth", "pt", "ckpt", "safetensors", "bin", "tar")
_NETWORKS = ("torchvision.models.detection.", "torchvision.models.segmentation.")
WRAPPERS = re.compile(r"^(tsn|tsm):")  # frame-wise networks have the weights of their image networks


def is_published(source: str) -> bool:
    """Return whether `source` is torchvision's (`ResNet50_Weights.DEFAULT`) or timm's (`resnet50.a1_in1k`) name."""
    network, _, tag = source.partition(".")
    is_tag = tag not in FILE_TYPES and re.fullmatch(r"\w+", tag) is not None
    return TORCHVISION_ENUM.fullmatch(source) is not None or (is_tag and is_timm_model(network))


def is_of_a_network(source: str) -> bool:
    """Return whether `source` is torchvision's name for the weights of a whole detector or segmenter.

    For instance `FasterRCNN_ResNet50_FPN_Weights.COCO_V1`.
    """
    if TORCHVISION_ENUM.fullmatch(source) is None:
        return False
    from torchvision.models import get_weight

    try:
        return type(get_weight(source)).__module__.startswith(_NETWORKS)
    except ValueError:
        return False  # the names of backbones are checked where these are loaded


def published_state_dict(source: str) -> dict[str, Tensor]:
    """Return published weights, downloaded once.

    Args:
        source: a torchvision enum's name (`ResNet50_Weights.IMAGENET1K_V2`), timm's name and tag (`resnet50.a1_in1k`),
            or a backbone's name, for torchvision's newest weights, or timm's where torchvision has none.

    Raises:
        ValueError: no publisher has weights of this name.
        FileNotFoundError: the file is not in the cache and cannot be downloaded.
    """
    from torchvision.models import get_model_weights, get_weight  # takes a second to import

    name = WRAPPERS.sub("", source)
    if TORCHVISION_ENUM.fullmatch(name):
        try:
            return _torchvision_state_dict(get_weight(name))
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"torchvision has no weights {name!r}; give one of its names, such as ResNet50_Weights.IMAGENET1K_V2, "
                "or the path of a state dict."
            ) from error
    try:
        weights = get_model_weights(name).DEFAULT
    except ValueError as error:
        timm_name = name.removeprefix("timm:")
        if is_timm_model(timm_name):
            return timm_state_dict(timm_name)
        raise ValueError(
            f"no published weights are known for {name!r}; give the path of a state dict, weights=PATH, or start from "
            "random ones, weights=None (vertebra fit DATA --weights none)."
        ) from error
    return _torchvision_state_dict(weights)


def _torchvision_state_dict(weights: WeightsEnum) -> dict[str, Tensor]:
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except (URLError, OSError) as error:
        file = weights.url.rsplit("/", 1)[-1]
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise FileNotFoundError(
            f"{file} ({weights}) was looked for in {cache} and could not be downloaded ({error}). Fetch "
            f"{weights.url} on a machine with network and put it there, or give its path: weights=/path/to/{file}."
        ) from error
