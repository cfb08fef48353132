"""State dicts of the ResNets of keras.applications, in the names of torchvision."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vertebra.backbones.keras_files import read_layers

# of batch norms in keras.applications; ours have 1e-5, so that the variance takes the difference
_EPSILON, _OWN_EPSILON = 1.001e-5, 1e-5

_BLOCK = re.compile(r"conv(\d)_block(\d+)_(preact|\d)_(conv|bn)")


def keras_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the weights of a ResNet-50, -101 or -152, of version 1 or 2, of keras.applications.

    Biases of convolutions before a norm become part of its running mean, which changes no output. The first convolution
    of version 1 is for blue, green, red, and is turned around.

    Returns:
        Names of `resnet50_v1` and `resnet50_v2` in this package; `fc.weight` and `fc.bias` of a classifier.

    Raises:
        ValueError: the file cannot be read, or is of another network.
    """
    layers = read_layers(path)
    blocks = {(match[1], match[2]) for name in layers if (match := _BLOCK.fullmatch(name))}
    if not blocks or "conv1_conv" not in layers:
        raise ValueError(
            f"{path}: is of another network, with layers such as {', '.join(list(layers)[:3])}; expected a ResNet or "
            "ResNetV2 of keras.applications."
        )
    # a stage may be missing; loading then names the weights that are
    depths = [max((int(n) for stage, n in blocks if stage == str(index)), default=0) for index in range(2, 6)]
    try:
        state = dict(_version_2(layers, depths) if "post_bn" in layers else _version_1(layers))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: its layers have other weights than a ResNet or ResNetV2 of keras.applications ({error}); give a "
            "file of one of these."
        ) from error
    if "predictions" in layers:
        kernel, bias = layers["predictions"]
        state |= {"fc.weight": _tensor(kernel.T), "fc.bias": _tensor(bias)}
    return state


def _version_1(layers: Mapping[str, Sequence[np.ndarray]]) -> Iterator[tuple[str, Tensor]]:
    for name, arrays in layers.items():
        if name == "conv1_conv":
            conv, norm = "conv1", "bn1"
        elif (match := _BLOCK.fullmatch(name)) and match[4] == "conv":
            prefix = f"layer{int(match[1]) - 1}.{int(match[2]) - 1}"
            projects = match[3] == "0"
            conv = f"{prefix}.downsample.0" if projects else f"{prefix}.conv{match[3]}"
            norm = f"{prefix}.downsample.1" if projects else f"{prefix}.bn{match[3]}"
        else:
            continue
        kernel, bias = arrays
        yield f"{conv}.weight", _kernel(kernel).flip(1) if conv == "conv1" else _kernel(kernel)
        yield from _norm(norm, layers[f"{name.removesuffix('_conv')}_bn"], bias)


def _version_2(layers: Mapping[str, Sequence[np.ndarray]], depths: Sequence[int]) -> Iterator[tuple[str, Tensor]]:
    yield from _biased("conv1", layers["conv1_conv"])
    yield from _norm("closing.0", layers["post_bn"])
    for name, arrays in layers.items():
        if not (match := _BLOCK.fullmatch(name)):
            continue
        stage, number = int(match[1]) - 2, int(match[2]) - 1
        # the last block of a stack halves the map, and is the first of the next stage here
        if stage < 3 and number == depths[stage] - 1:
            stage, number = stage + 1, 0
        elif stage:
            number += 1
        prefix, part, kind = f"layer{stage + 1}.{number}", match[3], match[4]
        if kind == "bn":
            yield from _norm(f"{prefix}.bn{1 if part == 'preact' else int(part) + 1}", arrays)
        elif part == "0":
            yield from _biased(f"{prefix}.downsample", arrays)
        elif len(arrays) == 2:
            yield from _biased(f"{prefix}.conv{part}", arrays)
        else:
            yield f"{prefix}.conv{part}.weight", _kernel(arrays[0])


def _biased(name: str, arrays: Sequence[np.ndarray]) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", _kernel(arrays[0])
    yield f"{name}.bias", _tensor(arrays[1])


def _norm(name: str, arrays: Sequence[np.ndarray], bias: np.ndarray | None = None) -> Iterator[tuple[str, Tensor]]:
    """Yield the state of a batch norm after a convolution with a bias."""
    weight, shift, mean, variance = arrays
    yield f"{name}.weight", _tensor(weight)
    yield f"{name}.bias", _tensor(shift)
    yield f"{name}.running_mean", _tensor(mean if bias is None else mean - bias)
    yield f"{name}.running_var", _tensor(variance + (_EPSILON - _OWN_EPSILON))
    yield f"{name}.num_batches_tracked", torch.tensor(0)


def _kernel(array: np.ndarray) -> Tensor:
    return _tensor(array.transpose(3, 2, 0, 1))  # (H, W, in, out)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
