"""Plan of a pruning: which channels each layer keeps, for a wanted speedup."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.narrowing import narrow, widths_of
from vertebra.backbones.received import received
from vertebra.tools.pruning.groups import Group

_STEPS, _KEPT = 16, 2  # parts of a group that are pruned at once, and that at least stay


class Plan(NamedTuple):
    """What is pruned.

    Attributes:
        groups: the groups.
        pruned: of each group, the channels that go, int64.
    """

    groups: Sequence[Group]
    pruned: list[Tensor]

    def channels(self) -> int:
        """Return the number of channels that go."""
        return sum(map(len, self.pruned))


class Unreachable(ValueError):
    """A speedup that no plan reaches."""


def make_plan(
    network: nn.Module, groups: Sequence[Group], scores: Sequence[Tensor], cost: Callable[[Any], float], speedup: float
) -> Plan:
    """Return the shortest plan with a speedup; the least important parts of all groups go first.

    Args:
        network: the network.
        groups: of its channels.
        scores: importance of each channel, see `vertebra.tools.pruning.importance`.
        cost: multiply-accumulates of a network.
        speedup: wanted ratio of the costs, above 1.

    Raises:
        Unreachable: the groups do not have so much of the cost.
    """
    parts = []  # score, group, channels
    for place, score in enumerate(scores):
        order = score.argsort(stable=True)
        steps = order.tensor_split(min(_STEPS, len(order)))
        parts += [(float(score[step].mean()), place, step) for step in steps[: max(0, len(steps) - _KEPT)]]
    parts.sort(key=lambda part: part[0])

    def plan(count: int) -> Plan:
        pruned = [torch.zeros(0, dtype=torch.int64)] * len(groups)
        for _, place, step in parts[:count]:
            pruned[place] = torch.cat([pruned[place], step])
        return Plan(groups, pruned)

    before = cost(network)

    def reached(count: int) -> float:
        return before / max(1.0, cost(pruned_network(network, plan(count))))

    low, high = 0, len(parts)
    if not parts or (most := reached(high)) < speedup:
        most = 1.0 if not parts else most
        raise Unreachable(
            f"a speedup of {speedup:g} is not reached: without all channels that can be pruned it is {most:.2f}; the "
            "rest of the cost is in layers that are kept, such as the heads of a detector. Give a lower --speedup."
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= speedup else (middle, high)
    return plan(high)


def pruned_network(network: nn.Module, plan: Plan) -> nn.Module:
    """Return a copy of a network without the pruned channels."""
    copied = copy.deepcopy(network)
    built = widths_of(network)
    gone: dict[tuple[str, str], set[int]] = {}
    for group, pruned in zip(plan.groups, plan.pruned, strict=True):
        for member in group.members if len(pruned) else ():
            indices = member.indices[torch.isin(member.roots, pruned)].tolist()
            gone.setdefault((member.layer, member.side), set()).update(indices)
    kept = {
        (layer, side): torch.tensor([i for i in range(_width(built[layer], side)) if i not in indices])
        for (layer, side), indices in gone.items()
    }
    layers = {layer for layer, _ in kept}
    widths = {}
    for layer in layers:
        sides = ("in", "out") if len(built[layer]) == 2 else ("out",)
        depthwise = getattr(network.get_submodule(layer), "groups", 1) > 1
        sizes = [len(kept[layer, side]) if (layer, side) in kept else _width(built[layer], side) for side in sides]
        widths[layer] = [sizes[1]] * 2 if depthwise else sizes
    state = network.state_dict()
    narrow(copied, widths)
    for layer in layers:
        _copy_channels(copied, layer, state, kept)
    return copied


def changed_widths(network: nn.Module, pruned: nn.Module, before: dict[str, list[int]] | None) -> dict[str, list[int]]:
    """Return the widths of all layers that a pruning has narrowed, this one or an earlier one.

    Args:
        network: before this pruning.
        pruned: after it, with the levels of its backbone as they are.
        before: widths of an earlier one.
    """
    old, new = widths_of(network), widths_of(pruned)
    return {name: width for name, width in new.items() if width != old[name] or name in (before or {})}


def set_levels(network: nn.Module, run: Callable[[], Any]) -> None:
    """Set the channels of the levels of a network's backbones to those that they return.

    Args:
        network: the network.
        run: runs it.
    """
    for body in [module for module in network.modules() if isinstance(module, Backbone)]:
        inputs: list[Tensor] = []
        with torch.no_grad():
            with received(body, inputs.append):
                run()
            if inputs:
                maps = body(inputs[-1])  # the network may run no more of it than its `embed`
                body.levels = tuple(level._replace(channels=maps[level.name].shape[1]) for level in body.levels)


def _width(widths: list[int], side: str) -> int:
    return widths[0] if side == "in" else widths[-1]


def _copy_channels(
    copied: nn.Module, layer: str, state: Mapping[str, Tensor], kept: Mapping[tuple[str, str], Tensor]
) -> None:
    module = copied.get_submodule(layer)
    depthwise = getattr(module, "groups", 1) > 1
    for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        source = state[f"{layer}.{name}"]
        if value.dim() == 0:
            continue
        if (layer, "out") in kept:
            source = source.index_select(0, kept[layer, "out"].to(source.device))
        if (layer, "in") in kept and value.dim() > 1 and not depthwise:
            source = source.index_select(1, kept[layer, "in"].to(source.device))
        value.data.copy_(source)
