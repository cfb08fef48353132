"""Teacher of a distillation: a trained network in evaluation, without gradients, beside the module that it teaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vertebra.backbones.folding import fold_norms


class Moment(NamedTuple):
    """A point in the time of a device.

    Attributes:
        event: of a CUDA device, which has reached it once the work before it is done; else None.
        seconds: of the host.
    """

    event: Any
    seconds: float

    @classmethod
    def now(cls, device: torch.device) -> Moment:
        """Return the present, without waiting for the device."""
        event = None
        if device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        return cls(event, time.perf_counter())

    def seconds_since(self, earlier: Moment) -> float:
        """Return the time between two moments; waits for the device."""
        if self.event is None:
            return self.seconds - earlier.seconds
        self.event.synchronize()
        return earlier.event.elapsed_time(self.event) / 1000


class Teacher:
    """A trained network that a student learns from.

    It is no `nn.Module`, so that a module that holds it has none of its weights: they are in no checkpoint, optimizer
    or average, no process sends them to others, and `train()` does not reach them. Copies of the module share it.
    Device and precision are those of the first input; autocast applies as to the student.

    Args:
        network: in evaluation; its norms are folded.
        source: where it is from, for messages.
        order: (K,) int64, the teacher's label of each of the student's classes; None if they are the same.

    Attributes:
        spans: beginning and end of each call, None while they are not measured.
        share: of a training step, in 0..1; None before it is measured.
    """

    def __init__(self, network: nn.Module, source: str, order: Tensor | None = None) -> None:
        fold_norms(network.eval())
        self.network = network.eval().requires_grad_(False)
        self.source, self.order = source, order
        self.spans: list[tuple[Moment, Moment]] | None = None
        self.share: float | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        return self

    def apply(self, forward: Callable[[Any], Any], like: Tensor) -> Any:
        """Return what a function of the network returns.

        Args:
            forward: the function; called without gradients.
            like: an input of the network, whose device and type its weights take.
        """
        weight = next(self.network.parameters())
        if (weight.device, weight.dtype) != (like.device, like.dtype):
            self.network.to(like.device, like.dtype)
        began = None if self.spans is None else Moment.now(like.device)
        with torch.no_grad():
            outputs = forward(self.network)
        if self.spans is not None and began is not None:
            self.spans.append((began, Moment.now(like.device)))
        return outputs

    def logits(self, images: Tensor, *more: Any) -> Tensor:
        """Return the logits (N, K, ...) in the order of the student's classes."""
        logits = self.apply(lambda network: network(images, *more), images)
        if self.order is None:
            return logits
        self.order = self.order.to(logits.device)
        return logits.index_select(1, self.order)

    def described(self) -> str:
        """Return its source, and its part of a training step once that is known."""
        return self.source if self.share is None else f"{self.source}, {self.share:.0%} of a training step"
