"""Undoes an optimizer step on the device, for steps whose loss or gradient turns out not to be finite."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_Place = tuple[int, str]  # which parameter, and the name of its state


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
        self.optimizer = optimizer
        weights = [x for group in optimizer.param_groups for x in group["params"]] if whole else []
        self.kept = [(x, x.detach().clone()) for x in (*module.buffers(), *weights)]
        self.state = {place: x.clone() if whole else None for place, x in self._state()}

    @torch.no_grad()
    def undo(self, bad: Tensor) -> None:
        """Return everything to where it was if `bad`, () bool, is true; the device decides, the host does not wait.

        A tensor on another device than `bad` is an exception: the step counter that an Adam without `fused` keeps on
        the host has to wait for it.
        """
        pairs = list(self.kept)
        for place, now in self._state():
            if place not in self.state:  # made by the step itself: an optimizer starts from nothing
                pairs.append((now, torch.zeros_like(now)))
            elif (before := self.state[place]) is not None:
                pairs.append((now, before))
        for now, before in pairs:
            now.copy_(torch.where(bad.to(now.device), before, now))

    def _state(self) -> Iterator[tuple[_Place, Tensor]]:
        for parameter, state in self.optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    yield (id(parameter), name), value
