"""Layer groups of a network from input to output, for layer-wise learning rates and gradual unfreezing."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from vertebra.backbones import Backbone

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def layer_groups(network: nn.Module) -> list[list[nn.Module]]:
    """Return the modules of each layer group; together they have all trainable parameters.

    Layers that the backbone names come first, for a Transformer the patch embedding and each block; else its children
    in registration order, for a ResNet stem and stages, where a norm belongs to the group before it. Everything else
    (the rest of the backbone, neck, heads) is the last group.

    Raises:
        ValueError: the network does not have exactly one backbone among its children.
    """
    children = list(network.children())
    backbones = [child for child in children if isinstance(child, Backbone)]
    if len(backbones) != 1:
        raise ValueError(
            f"{type(network).__name__} has {len(backbones)} backbones among its children; layer-wise fine-tuning "
            "expects one. Leave layer_decay at 1 and gradual unfreezing out, or give the network one backbone."
        )
    heads = [child for child in children if child is not backbones[0]]
    body: nn.Module = backbones[0]
    while not _named(body) and len(parts := _trainable_children(body)) == 1:  # unwrap a module with a single child
        body = parts[0]
    groups: list[list[nn.Module]] = [[body.get_submodule(name) for name in layer] for layer in _named(body)]
    if groups:
        layers = {module for layer in groups for module in layer}
        rest = [part for part in _trainable_children(body) if layers.isdisjoint(part.modules())]
        return [*groups, [*rest, *heads]]
    for part in parts or [body]:
        # a stem is often conv1 and bn1 side by side: they are one layer
        if groups and all(isinstance(module, _NORMS) for module in part.modules() if _has_own_parameters(module)):
            groups[-1].append(part)
        else:
            groups.append([part])
    return [*groups, heads]


def _named(module: nn.Module) -> list[list[str]]:
    """Return the layers that a backbone names; none for another module."""
    return (module.layers or []) if isinstance(module, Backbone) else []


def _trainable_children(module: nn.Module) -> list[nn.Module]:
    """Return the children with parameters."""
    return [child for child in module.children() if next(child.parameters(), None) is not None]


def _has_own_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None
