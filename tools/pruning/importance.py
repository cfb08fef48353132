"""Importance of the channels of each group: by the size of their weights, or by what the loss loses without them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vertebra.tools.pruning.groups import Group, Member

Importance = Literal["taylor", "l2"]


def weight_importance(network: nn.Module, groups: Sequence[Group]) -> list[Tensor]:
    """Return the sum of squared weights of each channel, over all layers of its group, each (channels,) float64.

    Group norm of DepGraph, Fang et al. 2023, https://arxiv.org/abs/2301.12900, relative to the mean of the group.
    """
    return [_relative(_sums(network, group, lambda weight: weight.detach() ** 2)) for group in groups]


def taylor_importance(
    network: nn.Module, groups: Sequence[Group], loss: Callable[[Any], Tensor], batches: Iterable[Any]
) -> list[Tensor]:
    """Return the squared first-order change of the loss without each channel, in the mean over batches.

    (sum of weight times gradient)^2 of Importance Estimation for Neural Network Pruning, Molchanov et al. 2019,
    https://arxiv.org/abs/1906.10771, summed over the layers of its group, relative to the mean of the group. The
    network's gradients are None afterwards.

    Args:
        network: whose loss it is.
        groups: of its channels.
        loss: of a batch.
        batches: of the training split.
    """
    totals = [torch.zeros(group.channels, dtype=torch.float64) for group in groups]
    for batch in batches:
        network.zero_grad(set_to_none=True)
        loss(batch).backward()
        for total, group in zip(totals, groups, strict=True):
            for member in group.members:
                total += _sums(network, Group(group.channels, [member]), _change) ** 2
    network.zero_grad(set_to_none=True)
    return [_relative(total) for total in totals]


def _change(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.detach() * weight.grad


def _sums(network: nn.Module, group: Group, value: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the sum of a value of all weights that a channel has, (channels,) float64."""
    total = torch.zeros(group.channels, dtype=torch.float64)
    for member in group.members:
        for weight, axis in weights_of(network, member):
            found = value(weight)
            sums = found.movedim(axis, 0).flatten(1).sum(dim=1) if found.dim() > 1 else found
            total.index_add_(0, member.roots, sums.double().cpu()[member.indices])
    return total


def weights_of(network: nn.Module, member: Member) -> list[tuple[Tensor, int]]:
    """Return the parameters of a layer that have a member's channels, and the axis of these."""
    layer: Any = network.get_submodule(member.layer)
    depthwise = getattr(layer, "groups", 1) > 1
    if member.side == "in":
        # a depthwise convolution has a filter for each channel, which counts as its output
        return [] if depthwise or layer.weight.dim() == 1 else [(layer.weight, 1)]
    return [(weight, 0) for weight in (layer.weight, layer.bias) if weight is not None]


def _relative(scores: Tensor) -> Tensor:
    """Return scores relative to their mean: layers differ in scale, and every group begins with the same."""
    return scores / scores.mean().clamp(min=torch.finfo(scores.dtype).tiny)
