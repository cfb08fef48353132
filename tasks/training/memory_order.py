"""Fused optimizer steps on CPUs over weights in channels_last, without copies of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_CHANNELS_INNERMOST = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}
_BACK = {4: (0, 3, 1, 2), 5: (0, 4, 1, 2, 3)}


def step_in_memory_order(optimizer: Optimizer) -> Optimizer:
    """Let the fused step of an optimizer read weights in channels_last as contiguous tensors; return the optimizer.

    PyTorch's fused kernels for CPUs take contiguous tensors and copy all others, which is two thirds of the time of
    a step over 3x3 convolutions in channels_last. During the step weights, gradients and states are therefore views
    whose dimensions are in the order of memory. Before and after it, and in checkpoints, all have their usual shapes.

    Args:
        optimizer: changed in place, unless none of its groups is fused.
    """
    if not any(group.get("fused") for group in optimizer.param_groups):
        return optimizer  # which may evaluate its closure several times
    own: Any = type(optimizer)

    # a local class, which jsonargparse passes over: `--model.optimizer AdamW` goes on to mean one class
    class InMemoryOrder(own):
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            result = None
            if closure is not None:  # computes the gradients, over weights in their usual shapes
                with torch.enable_grad():
                    result = closure()
            with _in_memory_order(self):
                super().step()
            return result

    InMemoryOrder.__name__ = own.__name__
    optimizer.__class__ = InMemoryOrder
    return optimizer


@contextmanager
def _in_memory_order(optimizer: Optimizer) -> Iterator[None]:
    """Replace what belongs to weights in channels_last by contiguous views for the time of a step."""
    fused = (group["params"] for group in optimizer.param_groups if group.get("fused"))
    weights = [weight for group in fused for weight in group if weight.grad is not None and _is_channels_last(weight)]
    replaced = [(weight, weight.data, weight.grad, dict(optimizer.state.get(weight, {}))) for weight in weights]
    for weight, data, gradient, state in replaced:
        order = _CHANNELS_INNERMOST[weight.dim()]
        weight.data = data.permute(order)
        weight.grad = gradient.permute(order)
        if state:
            optimizer.state[weight].update(_permuted(state, data.shape, order))
    try:
        yield
    finally:
        for weight, data, gradient, state in replaced:
            made = {name: value for name, value in optimizer.state[weight].items() if name not in state}
            optimizer.state[weight].update(_permuted(made, weight.shape, _BACK[weight.dim()]), **state)
            weight.data, weight.grad = data, gradient


def _is_channels_last(weight: Tensor) -> bool:
    """Return whether a tensor on a CPU is contiguous in the order of channels_last only."""
    order = _CHANNELS_INNERMOST.get(weight.dim())
    if order is None or weight.device.type != "cpu" or weight.is_contiguous():
        return False
    return weight.permute(order).is_contiguous()


def _permuted(state: dict[str, Any], shape: torch.Size, order: tuple[int, ...]) -> dict[str, Any]:
    """Return the entries that have the shape of a weight, in another order of dimensions."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return {name: value.permute(order) for name, value in tensors.items() if value.shape == shape}
