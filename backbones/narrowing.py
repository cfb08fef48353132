"""Narrowing of networks: layers with fewer channels than they were built with, as after pruning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone
from vertebra.backbones.layers import FrozenBatchNorm

CONVS = (nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

Widths = Mapping[str, Sequence[int]]  # see `widths_of`


def widths_of(network: nn.Module) -> dict[str, list[int]]:
    """Return the widths of all layers that can be narrowed, by name.

    Those of a convolution or linear layer are its input and output channels, those of a batch norm its channels, and
    those of a backbone the channels of its levels.
    """
    return {name: found for name, module in network.named_modules() if (found := _widths(module)) is not None}


def narrow(network: nn.Module, widths: Widths) -> None:
    """Narrow layers in place; they keep the first of their channels, until other weights are loaded.

    Args:
        network: as it was built.
        widths: of layers, as `widths_of` has them; layers that are not named keep theirs.

    Raises:
        ValueError: a layer does not exist, has no widths, or would become wider, or empty.
    """
    modules = dict(network.named_modules())
    for name, wanted in widths.items():
        module = modules.get(name)
        built = None if module is None else _widths(module)
        if module is None or built is None:
            raise ValueError(f"widths name the layer {name[:80]!r}, which the network has not; {_REMEDY}")
        fits = len(wanted) == len(built) and all(isinstance(one, int) for one in wanted)
        if not fits or not all(1 <= one <= most for one, most in zip(wanted, built, strict=True)):
            raise ValueError(f"widths of {name} are {list(wanted)[:8]}; expected 1 to {built} channels; {_REMEDY}")
        _narrow(module, list(wanted))


def is_narrowable(module: nn.Module) -> bool:
    """Return whether a layer can have fewer channels: convolutions without groups or depthwise, linear, batch norm."""
    return not isinstance(module, Backbone) and _widths(module) is not None


def channels_of(module: nn.Module, side: str) -> int:
    """Return the input (`in`) or output (`out`) channels of a layer that can be narrowed."""
    widths = _widths(module) or [0]
    return widths[0] if side == "in" else widths[-1]


_REMEDY = "build the network that was pruned, with its own options."


def _widths(module: nn.Module) -> list[int] | None:
    if isinstance(module, CONVS):
        depthwise = module.groups == module.in_channels == module.out_channels
        return [module.in_channels, module.out_channels] if module.groups == 1 or depthwise else None
    if isinstance(module, nn.Linear):
        return [module.in_features, module.out_features]
    if isinstance(module, FrozenBatchNorm):
        return [len(module.weight)]
    if isinstance(module, NORMS):
        return [module.num_features]
    if isinstance(module, Backbone):
        return [level.channels for level in module.levels]
    return None


def _narrow(module: Any, widths: list[int]) -> None:
    if isinstance(module, Backbone):
        module.levels = tuple(
            level._replace(channels=width) for level, width in zip(module.levels, widths, strict=True)
        )
        return
    if isinstance(module, nn.Linear):
        module.in_features, module.out_features = widths
    elif isinstance(module, CONVS):
        if module.groups > 1:  # depthwise: a filter for each channel
            module.groups = widths[1]
        module.in_channels, module.out_channels = widths
    elif not isinstance(module, FrozenBatchNorm):
        module.num_features = widths[0]
    for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if value.dim() == 1:
            _replace(module, name, value.detach()[: widths[-1]])
        elif value.dim() > 1:
            inputs = 1 if getattr(module, "groups", 1) > 1 else widths[0]
            _replace(module, name, value.detach()[: widths[1], :inputs])


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    value = value.clone(memory_format=torch.preserve_format)
    if name in module._parameters:
        old = module._parameters[name]
        assert old is not None
        module._parameters[name] = nn.Parameter(value, requires_grad=old.requires_grad)
    else:
        module._buffers[name] = value
