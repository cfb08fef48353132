"""Soundness of groups: a network without some channels computes what the whole one does with zeros in their place."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from vertebra.tools.pruning.groups import Forward, Group, tensors_of
from vertebra.tools.pruning.importance import weights_of
from vertebra.tools.pruning.plan import Plan, pruned_network

TOLERANCE = 1e-3  # relative to the largest output: float32 sums in another order give 1e-5
_THIRD = 3  # no divisor of usual widths and offsets, at which wrong channels could agree


def sound_groups(network: nn.Module, groups: Sequence[Group], inputs: Any, forward: Forward) -> list[Group]:
    """Return the groups that can be pruned without an effect on other channels.

    A graph does not know what a layer does with the number of its channels: the shortcuts of the original ResNets for
    CIFAR pad with a fixed number of zeros, for instance, so that channels of that sum must stay.

    Args:
        network: in evaluation mode.
        groups: of its channels.
        inputs: of the network.
        forward: runs it.
    """

    def is_sound(some: Sequence[Group]) -> bool:
        pruned = [torch.arange(0, group.channels - 1, _THIRD) for group in some]
        return deviation(network, Plan(some, pruned), inputs, forward) <= TOLERANCE

    return list(groups) if is_sound(groups) else [group for group in groups if is_sound([group])]


def deviation(network: nn.Module, plan: Plan, inputs: Any, forward: Forward) -> float:
    """Return the largest difference between the pruned and the masked network, relative to the largest output.

    It is infinite where the pruned network does not run.
    """
    with torch.no_grad():
        expected = tensors_of(forward(masked_network(network, plan), inputs))
        try:
            found = tensors_of(forward(pruned_network(network, plan), inputs))
        except (RuntimeError, ValueError):  # shapes that do not fit
            return math.inf
    if [x.shape for x in found] != [x.shape for x in expected]:
        return math.inf
    largest = max(float(x.abs().max()) for x in expected)
    difference = max(float((x - y).abs().max()) for x, y in zip(found, expected, strict=True))
    return difference / largest if largest else difference


def masked_network(network: nn.Module, plan: Plan) -> nn.Module:
    """Return a copy of a network whose pruned channels are zero: it must compute what the pruned one does."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for group, pruned in zip(plan.groups, plan.pruned, strict=True):
            for member in group.members:
                if member.side == "out":
                    indices = member.indices[torch.isin(member.roots, pruned)]
                    for weight, axis in weights_of(copied, member):
                        weight.index_fill_(axis, indices.to(weight.device), 0.0)
    return copied
