"""Fake quantization: layers that compute with the rounded weights and inputs of an int8 file, and can be trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from vertebra.tools.quantizing.layers import WEIGHTED

_LARGEST = 127  # of a symmetric int8 weight


class Grid(NamedTuple):
    """Values of a uint8 activation: scale * (n - zero_point) for n in 0..255.

    Attributes:
        scale: distance of two values.
        zero_point: the n of 0.
    """

    scale: float
    zero_point: int


def read_grids(model: Any, layers: Mapping[str, Sequence[str]]) -> dict[str, list[Grid]]:
    """Return the grids of the inputs of int8 layers.

    Args:
        model: `onnx.ModelProto` of an int8 file.
        layers: name of a layer -> its nodes, see `find_layers`.

    Returns:
        name of an int8 layer -> grid of each of its calls, in their order.
    """
    values = {one.name: one for one in model.graph.initializer}
    sources = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    layer_of = {node: layer for layer, nodes in layers.items() for node in nodes}
    grids: dict[str, list[Grid]] = {}
    for node in model.graph.node:
        if node.op_type in WEIGHTED and node.name in layer_of and node.input[0] in sources:
            scale, zero_point = (numpy_helper.to_array(values[name]) for name in sources[node.input[0]].input[1:3])
            grids.setdefault(layer_of[node.name], []).append(Grid(float(scale), int(zero_point)))
    return grids


def fake_quantize(network: nn.Module, grids: Mapping[str, Sequence[Grid]]) -> None:
    """Make layers of a network compute as int8 ones, with straight-through gradients, and freeze its batch norms.

    Weights are rounded to int8 with a symmetric range for each output channel, which commutes with the folding of a
    norm, inputs to the given grids, which stay as they are: Integer Quantization for Deep Learning Inference, Wu et al.
    2020, https://arxiv.org/abs/2004.09602. Parameters and the state dict are those of the network without it.

    Args:
        network: changed in place, by hooks.
        grids: name of a convolution or linear layer -> grid of the input at each call within one pass of the network.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)
            module.register_forward_pre_hook(_evaluate)
        elif name in grids and isinstance(module, _ConvNd | nn.Linear):
            quantizer = _Quantizer(grids[name])
            module.register_forward_pre_hook(quantizer.round)
            module.register_forward_hook(quantizer.restore, always_call=True)


def rounded_weight(weight: Tensor) -> Tensor:
    """Return weights (out_channels, ...) rounded to int8, whose gradient is that of the weights."""
    scale = weight.detach().float().abs().flatten(1).amax(dim=1) / _LARGEST
    scale = scale.clamp(min=torch.finfo(torch.float32).tiny)  # of channels that are zero
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight.float(), scale, zeros, 0, -_LARGEST, _LARGEST).to(weight.dtype)


class _Quantizer:
    """Hooks of one layer; a layer that runs once for each level of a pyramid has a grid for each, in turn."""

    def __init__(self, grids: Sequence[Grid]) -> None:
        self._grids = grids
        self._calls = 0
        self._weight: nn.Parameter | None = None

    def round(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        grid = self._grids[self._calls % len(self._grids)]
        self._calls += 1
        self._weight = layer._parameters["weight"]
        # for this call only: the optimizer, checkpoints and copies have the parameter itself
        layer._parameters["weight"] = rounded_weight(self._weight)  # type: ignore[arg-type, assignment]
        x = inputs[0]
        return torch.fake_quantize_per_tensor_affine(x.float(), *grid, 0, 255).to(x.dtype), *inputs[1:]

    def restore(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        layer._parameters["weight"] = self._weight


def _evaluate(norm: nn.Module, inputs: Any) -> None:
    norm.eval()  # at each call, since a trainer sets the mode of the whole network
