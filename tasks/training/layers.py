"""Layers of a network from input to output, for layer-wise learning rates and gradual unfreezing."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from vertebra.backbones import Backbone

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def layers_of(network: nn.Module) -> list[list[nn.Module]]:
    """Return the modules of each layer; together they hold all parameters.

    The parts of the backbone come first, in their own order: of a ResNet the stem and the stages. A norm belongs to the
    part before it. Everything after the backbone (neck, heads) is the last layer.

    Raises:
        ValueError: the network does not have one backbone among its children.
    """
    children = list(network.children())
    backbones = [child for child in children if isinstance(child, Backbone)]
    if len(backbones) != 1:
        raise ValueError(
            f"{type(network).__name__} has {len(backbones)} backbones among its parts; learning layer by layer needs "
            "one. Leave layer_decay at 1 and do without gradual unfreezing, or give the network one backbone."
        )
    body: nn.Module = backbones[0]
    while len(parts := _learning(body)) == 1:  # a wrapper around the network proper
        body = parts[0]
    layers: list[list[nn.Module]] = []
    for part in parts or [body]:
        if layers and all(isinstance(module, _NORMS) for module in part.modules() if _own_parameters(module)):
            layers[-1].append(part)
        else:
            layers.append([part])
    return [*layers, [child for child in children if child is not backbones[0]]]


def _learning(module: nn.Module) -> list[nn.Module]:
    """Return the children that have parameters."""
    return [child for child in module.children() if next(child.parameters(), None) is not None]


def _own_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None
