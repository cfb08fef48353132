"""Undoes an optimizer step on the device, for steps whose loss or gradient turns out not to be finite."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def leaves_out(optimizer: Optimizer) -> bool:
    """Return whether `optimizer.found_inf` makes a step of it change nothing, as PyTorch's fused optimizers do."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


class Rollback:
    """State from before a step, to which the step is returned where it was bad.

    Buffers, such as the running statistics of batch norm, change in the forward pass and are always kept. Weights and
    the state of the optimizer are kept, too, unless the optimizer itself can leave a step out.

    Args:
        module: whose buffers and weights.
        optimizer: that takes the step.
        whole: keep weights and the optimizer's state.
    """

    def __init__(self, module: nn.Module, optimizer: Optimizer, whole: bool) -> None:
        self.module = module
        self.optimizer = optimizer
        self.whole = whole
        self.known = {place for place, _ in self._state()}
        groups: dict[tuple[torch.device, torch.dtype], list[Hashable]] = {}
        tensors = dict(self._kept())
        for place, x in tensors.items():
            groups.setdefault((x.device, x.dtype), []).append(place)
        self.before = [(places, _flat([tensors[place] for place in places])) for places in groups.values()]

    @torch.no_grad()
    def undo(self, bad: Tensor) -> None:
        """Return everything to where it was if `bad`, () bool, is true; the device decides, the host does not wait.

        A tensor on another device than `bad` is an exception: the step counter that an Adam without `fused` keeps on
        the host has to wait for it.
        """
        tensors = dict(self._kept())
        for places, before in self.before:
            _restore([tensors[place] for place in places], before, bad)
        for place, x in self._state():
            if place not in self.known:  # made by the step itself: an optimizer starts from nothing
                _restore([x], torch.zeros_like(x).flatten(), bad)

    def _kept(self) -> Iterator[tuple[Hashable, Tensor]]:
        yield from self.module.named_buffers()
        if self.whole:
            for number, group in enumerate(self.optimizer.param_groups):
                yield from (((number, place), x.detach()) for place, x in enumerate(group["params"]))
            yield from ((place, x) for place, x in self._state() if place in self.known)

    def _state(self) -> Iterator[tuple[Hashable, Tensor]]:
        for parameter, state in self.optimizer.state.items():
            yield from (((id(parameter), name), x) for name, x in state.items() if isinstance(x, Tensor))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors of one device and type as one: to treat hundreds one by one takes a GPU's host milliseconds."""
    return torch.cat([x.flatten() for x in tensors])


def _restore(tensors: Sequence[Tensor], before: Tensor, bad: Tensor) -> None:
    """Write `before`, made by `_flat`, into tensors if `bad`."""
    after = torch.where(bad.to(before.device), before, _flat(tensors))
    parts = after.split([x.numel() for x in tensors])
    torch._foreach_copy_(list(tensors), [part.view(x.shape) for part, x in zip(parts, tensors, strict=True)])
