"""Rollback of an optimizer step on the device, for steps with a non-finite loss or gradient."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def can_skip_step(optimizer: Optimizer) -> bool:
    """Return whether the optimizer skips a step if `optimizer.found_inf` is set, as PyTorch's fused ones do."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


class Rollback:
    """Snapshot of the state before a step, restored if the step was not finite.

    Buffers, such as running statistics of batch norm, change in the forward pass and are always saved. Weights and
    optimizer state are saved unless the optimizer itself can skip the step.

    Args:
        module: module whose buffers and weights are saved.
        optimizer: optimizer of the step.
        include_weights: save weights and optimizer state, too.
    """

    def __init__(self, module: nn.Module, optimizer: Optimizer, include_weights: bool) -> None:
        self.module = module
        self.optimizer = optimizer
        self.include_weights = include_weights
        self.saved_state = {name for name, _ in self._state()}
        groups: dict[tuple[torch.device, torch.dtype], list[Hashable]] = {}
        tensors = dict(self._saved_tensors())
        for name, x in tensors.items():
            groups.setdefault((x.device, x.dtype), []).append(name)
        self.before = [(names, _flatten([tensors[name] for name in names])) for names in groups.values()]

    @torch.no_grad()
    def undo(self, bad: Tensor) -> None:
        """Restore the saved state if `bad`, () bool, is true, decided on the device without synchronization.

        Only tensors on another device than `bad` synchronize, such as the step counter that an unfused Adam keeps on
        the host.
        """
        tensors = dict(self._saved_tensors())
        for names, before in self.before:
            _restore([tensors[name] for name in names], before, bad)
        for name, x in self._state():
            if name not in self.saved_state:  # created by the step itself, and initially zero in every optimizer
                _restore([x], torch.zeros_like(x).flatten(), bad)

    def _saved_tensors(self) -> Iterator[tuple[Hashable, Tensor]]:
        yield from self.module.named_buffers()
        if self.include_weights:
            for group_index, group in enumerate(self.optimizer.param_groups):
                yield from (((group_index, i), x.detach()) for i, x in enumerate(group["params"]))
            yield from ((name, x) for name, x in self._state() if name in self.saved_state)

    def _state(self) -> Iterator[tuple[Hashable, Tensor]]:
        for parameter, state in self.optimizer.state.items():
            yield from (((id(parameter), name), x) for name, x in state.items() if isinstance(x, Tensor))


def _flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors of one device and dtype: launching kernels for hundreds of tensors takes milliseconds."""
    return torch.cat([x.flatten() for x in tensors])


def _restore(tensors: Sequence[Tensor], before: Tensor, bad: Tensor) -> None:
    """Copy `before`, the result of `_flatten`, back into the tensors if `bad`."""
    after = torch.where(bad.to(before.device), before, _flatten(tensors))
    parts = after.split([x.numel() for x in tensors])
    torch._foreach_copy_(list(tensors), [part.view(x.shape) for part, x in zip(parts, tensors, strict=True)])
