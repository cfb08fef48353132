"""Key names of other publishers' weights, and their conversion to ours (torchvision's)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

# patterns of keys and their replacements, as `re.sub` takes them; applied one after the other
Renames = tuple[tuple[str, str | Callable[[re.Match], str]], ...]


class Convention(NamedTuple):
    """Naming convention of a publisher for a family of networks.

    Attributes:
        publisher: and family, as documentation.
        mark: pattern of a key that only this convention has.
        renames: of the keys.
        convert: function of the renamed state dict, where values differ as well.
    """

    publisher: str
    mark: str
    renames: Renames
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict


def _without_shortcut_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fold the bias of each shortcut's convolution into the running mean of its batch norm."""
    for key in [key for key in state if key.endswith(".downsample.0.bias")]:
        mean = key.replace("0.bias", "1.running_mean")
        if mean in state:
            state[mean] = state[mean] - state.pop(key)
    return state


# pytorchvideo's names inside a block; stages are renamed by each convention
_BLOCK = (
    (r"\.branch1_conv\.", ".downsample.0."),
    (r"\.branch1_norm\.", ".downsample.1."),
    (r"\.branch2\.conv_b\.conv_t\.", ".conv2.temporal."),
    (r"\.branch2\.conv_b\.norm\.", ".conv2.norm."),
    (r"\.branch2\.conv_b\.conv_xy\.", ".conv2.spatial."),
    (r"\.branch2\.norm_b\.0\.", ".bn2."),
    (r"\.branch2\.norm_b\.1\.block\.0\.", ".se.fc1."),
    (r"\.branch2\.norm_b\.1\.block\.2\.", ".se.fc2."),
    (r"\.branch2\.conv_([abc])\.", lambda match: f".conv{'_abc'.index(match[1])}."),
    (r"\.branch2\.norm_([abc])\.", lambda match: f".bn{'_abc'.index(match[1])}."),
    (r"\.res_blocks\.", "."),
)

CONVENTIONS = (
    Convention(
        "timm's Vision Transformers",
        r"cls_token",
        ((r"^(cls_token|pos_embed)$", r"patch_embed.\1"),),
    ),
    Convention(
        "timm's pre-activation ResNets",
        r"stages\.1\.blocks\.0\.downsample\.conv\.weight",
        (
            (r"^stem\.conv\.", "conv1."),
            (r"^stem\.conv1\.", "conv1.0."),
            (r"^stem\.norm1\.", "conv1.1."),
            (r"^stem\.conv2\.", "conv1.3."),
            (r"^stem\.norm2\.", "conv1.4."),
            (r"^stem\.conv3\.", "conv1.6."),
            (r"^norm\.", "closing.0."),
            (r"\.norm(\d)\.", r".bn\1."),
            (r"\.downsample\.conv\.", ".downsample.1."),
            (r"^stages\.(\d)\.blocks\.", lambda match: f"layer{int(match[1]) + 1}."),
        ),
    ),
    Convention(
        "torchvision's R(2+1)D",
        r"layer1\.0\.conv1\.0\.0\.weight",
        (
            (r"^stem\.0\.", "conv1.spatial."),
            (r"^stem\.1\.", "conv1.norm."),
            (r"^stem\.3\.", "conv1.temporal."),
            (r"^stem\.4\.", "bn1."),
            (r"\.conv(\d)\.1\.", r".bn\1."),
            (r"\.conv(\d)\.0\.0\.", r".conv\1.spatial."),
            (r"\.conv(\d)\.0\.1\.", r".conv\1.norm."),
            (r"\.conv(\d)\.0\.3\.", r".conv\1.temporal."),
        ),
    ),
    Convention(
        "torchvision's R3D and MC3",
        r"layer1\.0\.conv1\.1\.running_mean",
        (
            (r"^stem\.0\.", "conv1."),
            (r"^stem\.1\.", "bn1."),
            (r"\.conv(\d)\.0\.", r".conv\1."),
            (r"\.conv(\d)\.1\.", r".bn\1."),
        ),
    ),
    Convention(
        "MONAI's ResNets whose shortcuts have biases", r"layer2\.0\.downsample\.0\.bias", (), _without_shortcut_biases
    ),
    Convention(
        "pytorchvideo's SlowFast",
        r"blocks\.0\.multipathway_blocks\.0\.conv\.weight",
        (
            *_BLOCK,
            (r"^blocks\.(\d)\.multipathway_fusion\.conv_fast_to_slow\.", r"fusions.\1.0."),
            (r"^blocks\.(\d)\.multipathway_fusion\.norm\.", r"fusions.\1.1."),
            (r"^blocks\.(\d)\.multipathway_blocks\.0\.", r"slow.\1."),
            (r"^blocks\.(\d)\.multipathway_blocks\.1\.", r"fast.\1."),
            (r"^(slow|fast)\.0\.conv\.", r"\1.conv1."),
            (r"^(slow|fast)\.0\.norm\.", r"\1.bn1."),
            (r"^(slow|fast)\.(\d)\.", r"\1.layer\2."),
            (r"^blocks\.6\.proj\.", "head.fc."),
        ),
    ),
    Convention(
        "pytorchvideo's X3D",
        r"blocks\.0\.conv\.conv_xy\.weight",
        (
            *_BLOCK,
            (r"^blocks\.0\.conv\.conv_t\.", "conv1.spatial."),  # pytorchvideo swaps the two names
            (r"^blocks\.0\.conv\.conv_xy\.", "conv1.temporal."),
            (r"^blocks\.0\.norm\.", "bn1."),
            (r"^blocks\.5\.pool\.pre_conv\.", "head.conv1."),
            (r"^blocks\.5\.pool\.pre_norm\.", "head.bn1."),
            (r"^blocks\.5\.pool\.post_conv\.", "head.conv2."),
            (r"^blocks\.5\.proj\.", "head.fc."),
            (r"^blocks\.(\d)\.", r"layer\1."),
        ),
    ),
    Convention(
        "pytorchvideo's I3D and C2D",  # whose pooling after the first stage counts as a block
        r"blocks\.5\.res_blocks\.0\.branch2\.conv_a\.weight",
        (
            *_BLOCK,
            (r"^blocks\.0\.conv\.", "conv1."),
            (r"^blocks\.0\.norm\.", "bn1."),
            (r"^blocks\.6\.proj\.", "head.fc."),
            (r"^blocks\.1\.", "layer1."),
            (r"^blocks\.(\d)\.", lambda match: f"layer{int(match[1]) - 1}."),
        ),
    ),
    Convention(
        "pytorchvideo's other ResNets",
        r"blocks\.4\.res_blocks\.0\.branch2\.conv_a\.weight",
        (
            *_BLOCK,
            (r"^blocks\.0\.conv\.", "conv1."),
            (r"^blocks\.0\.norm\.", "bn1."),
            (r"^blocks\.5\.proj\.", "head.fc."),
            (r"^blocks\.(\d)\.", r"layer\1."),
        ),
    ),
)


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under our names, from any supported publisher; our own names are unchanged."""
    state = {key.removeprefix("module."): value for key, value in state.items()}
    for convention in CONVENTIONS:
        if any(re.fullmatch(convention.mark, key) for key in state):
            return convention.convert(rename_keys(state, convention.renames))
    return state


def rename_keys(state: Mapping[str, Tensor], renames: Renames) -> dict[str, Tensor]:
    """Return a state dict with every key renamed."""
    return {_rename(key, renames): value for key, value in state.items()}


def _rename(key: str, renames: Renames) -> str:
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key)
    return key
