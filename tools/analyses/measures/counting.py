"""Counts of a network by its parts: operations, memory traffic and activations, on the meta device, and times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from vertebra.tools.analyses.networks.blocks import Block, hooked

STEM, REST = "stem", "rest"  # what runs before the first block, and all else outside the blocks
_WARM_UP = 2  # rounds that are not measured


class Cost(NamedTuple):
    """Cost of a part of a network.

    Attributes:
        parameters: number of values.
        flops: floating-point operations of convolutions and matrix products in a forward pass, two for each
            multiply-accumulate.
        traffic: bytes that the operations of a forward pass read and write, each on its own, without any fusion.
        activations: bytes that a forward pass in training keeps for the backward pass, without parameters.
    """

    parameters: int = 0
    flops: int = 0
    traffic: int = 0
    activations: int = 0

    @property
    def intensity(self) -> float:
        """Floating-point operations for each byte of traffic."""
        return self.flops / self.traffic if self.traffic else 0.0


def count_costs(network: nn.Module, blocks: Sequence[Block], shape: Sequence[int]) -> dict[str, Cost]:
    """Count the cost of the stem, of each block, and of the rest of a network.

    Args:
        network: on the meta device, where nothing is computed.
        blocks: of the network, in the order of its forward pass.
        shape: (N, C, ...) of the input.
    """
    network.eval()
    images = torch.zeros(*shape, device="meta")
    traffic = _Traffic()
    counter = FlopCounterMode(display=False)
    places = _Places(blocks)
    with torch.no_grad(), counter, traffic, hooked(places.handles(lambda: (counter.get_total_flops(), traffic.total))):
        network(images)
        places.finish()
    network.train()
    saved = _Saved(network)
    kept = _Places(blocks)
    with (
        torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda x: x),
        hooked(kept.handles(lambda: (saved.total,))),
    ):
        network(images)
        kept.finish()
    parameters = {block.name: sum(x.numel() for x in block.module.parameters()) for block in blocks}
    before = _before(network, blocks)
    parameters[STEM] = sum(x.numel() for name in before for x in network.get_submodule(name).parameters())
    parameters[REST] = sum(x.numel() for x in network.parameters()) - sum(parameters.values())
    return {
        name: Cost(parameters[name], *places.spent[name], *kept.spent[name])
        for name in (STEM, *(block.name for block in blocks), REST)
    }


def measure_times(
    network: nn.Module, blocks: Sequence[Block], images: Tensor, rounds: int, synchronize: Callable[[], None]
) -> dict[str, float]:
    """Return the median seconds of the stem, of each block and of the rest in inference.

    Args:
        network: in evaluation mode.
        blocks: of the network.
        images: input.
        rounds: measured forward passes.
        synchronize: waits for the device.
    """

    def now() -> tuple[float]:
        synchronize()
        return (time.perf_counter(),)

    found: list[dict[str, tuple[float, ...]]] = []
    with torch.inference_mode():
        for _ in range(_WARM_UP + rounds):
            places = _Places(blocks)
            with hooked(places.handles(now)):
                network(images)
                places.finish()
            found.append(places.spent)
    return {name: statistics.median(one[name][0] for one in found[_WARM_UP:]) for name in found[0]}


class _Places:
    """Differences of counters over the stem, each block, and the rest of a forward pass."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self._last: tuple[Any, ...] = ()
        self._read: Callable[[], tuple[Any, ...]] = tuple
        self._place = STEM
        self.spent: dict[str, tuple[Any, ...]] = {}

    def handles(self, read: Callable[[], tuple[Any, ...]]) -> list[Any]:
        self._read, self._last = read, read()
        self.spent = {name: tuple(0 for _ in self._last) for name in (STEM, *(b.name for b in self._blocks), REST)}
        handles = []
        for block in self._blocks:
            handles.append(
                block.module.register_forward_pre_hook(lambda module, inputs, name=block.name: self._to(name))
            )
            handles.append(block.module.register_forward_hook(lambda module, inputs, output: self._to(REST)))
        return handles

    def finish(self) -> None:
        self._to(REST)

    def _enter(self, name: str, module: nn.Module, inputs: Any) -> None:
        self._to(name)

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._to(REST)

    def _to(self, place: str) -> None:
        now = self._read()
        passed = tuple(a - b for a, b in zip(now, self._last, strict=True))
        self.spent[self._place] = tuple(a + b for a, b in zip(self.spent[self._place], passed, strict=True))
        self._last, self._place = now, place


class _Traffic(TorchDispatchMode):
    """Counts the bytes of the inputs and outputs of every operation that is no view."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        returns = function._schema.returns
        # a reshape that has to copy ends in an operation that is declared as none
        is_view = function is torch.ops.aten._unsafe_view.default or any(
            one.alias_info is not None and not one.alias_info.is_write for one in returns
        )
        if not is_view:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            self.total += sum(x.numel() * x.element_size() for x in tensors)
        return result


class _Saved:
    """Counts the bytes that autograd keeps, each storage once, without those of parameters and buffers."""

    def __init__(self, network: nn.Module) -> None:
        own = (*network.parameters(), *network.buffers())
        self._seen = {x.untyped_storage()._cdata for x in own}
        self._alive: list[Tensor] = []  # or another storage could get the same address
        self.total = 0

    def keep(self, x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._alive.append(x)
            self.total += storage.nbytes()
        return x


def _before(network: nn.Module, blocks: Sequence[Block]) -> list[str]:
    """Return the children of a network that come before the one with the first block."""
    names = [name for name, _ in network.named_children()]
    first = blocks[0].name.partition(".")[0]
    return names[: names.index(first)] if first in names else []
