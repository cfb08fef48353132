"""Layers of an ONNX graph that have int8 kernels, by the names that they have in the network."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

# with weights; the others follow them and keep the activations between two of them in int8
WEIGHTED = ("Conv", "Gemm", "MatMul")
_UNARY = ("Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize")
_JOINING = ("Add", "Mul", "Concat")
_PREFIX = "network."  # of what is exported, before the names in the network


def find_layers(model: Any) -> dict[str, list[str]]:
    """Return the layers whose kernels can be int8, in the order of the graph.

    A layer is a convolution or a linear layer with constant weights, and what follows it up to the next one:
    activations, poolings, and sums, products and concatenations of activations. What decodes boxes or computes sizes is
    not part of any: it starts at a reshape.

    Args:
        model: `onnx.ModelProto` of `vertebra export`.

    Returns:
        name of a layer in the network -> names of its nodes.
    """
    weights = {weight.name for weight in model.graph.initializer}
    consumers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    layers: dict[str, list[str]] = {}
    layer_of: dict[str, str] = {}  # activation -> layer
    for node in model.graph.node:
        if node.op_type in WEIGHTED:
            if node.input[1] not in weights:  # a product of two activations, as of attention
                continue
            layer: str | None = _name_of(node)
        else:
            layer = _follows(node, layer_of, consumers)
        if layer is None:
            continue
        layers.setdefault(layer, []).append(node.name)
        layer_of[node.output[0]] = layer
    return layers


def activations_of(node: Any) -> list[str]:
    """Return the activations that a node of a layer takes and gives; its weights, sizes and limits are none."""
    return [*(node.input if node.op_type in _JOINING else node.input[:1]), *node.output]


def group_layers(layers: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the layers in groups that are quantized together: blocks of a stage, and each other layer for itself.

    Args:
        layers: names of layers, in the order of the graph.

    Returns:
        group -> layers; `backbone.layer1.0` has `backbone.layer1.0.conv1` and the further ones of the block.
    """
    groups: dict[str, list[str]] = {}
    for layer in layers:
        parts = layer.split(".")
        numbered = [place for place, part in enumerate(parts) if part.isdigit()]
        # the last layers of a head are named; what is numbered before them repeats
        groups.setdefault(".".join(parts[: numbered[0] + 1]) if numbered else layer, []).append(layer)
    return groups


def _follows(node: Any, layer_of: Mapping[str, str], consumers: Mapping[str, Sequence[Any]]) -> str | None:
    """Return the layer that a node without weights belongs to, or None if it is to stay in float."""
    if node.op_type in _UNARY:
        return layer_of.get(node.input[0])
    if node.op_type == "Sigmoid":  # of a gate or SiLU; that of scores needs more than 256 values
        following = consumers.get(node.output[0], ())
        return layer_of.get(node.input[0]) if following and all(x.op_type == "Mul" for x in following) else None
    if node.op_type in _JOINING and all(name in layer_of for name in node.input):
        return layer_of[node.input[0]]
    return None


def _name_of(node: Any) -> str:
    """Return the name of a layer with weights in the network."""
    name, _, kind = node.input[1].rpartition(".")
    if kind != "weight":  # the exporter has transposed the weights; the scopes end with the operator
        found = {entry.key: entry.value for entry in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "[]")
        name = next((scope for scope in ast.literal_eval(found)[-2:-1] if scope), node.name)
    return name.removeprefix(_PREFIX)
