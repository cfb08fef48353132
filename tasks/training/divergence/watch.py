"""What a device computes of losses and gradients, step by step, kept there until it is read all at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from vertebra.tasks.training.divergence.finite import largest

GRADIENT = "the largest gradient"


@dataclass
class WatchedBatch:
    """One batch of training.

    Attributes:
        step: optimizer steps before it.
        epoch: from 0.
        batch: in the epoch, from 0.
        files: of its samples.
        values: what is watched of it, by name: the losses, and the largest gradient where the batch ended a step. They
            are () float32 on the device, and numbers once they are read.
        left_out: whether its step was left out, () bool on the device until it is read; None before the step.
    """

    step: int
    epoch: int
    batch: int
    files: list[str]
    values: dict[str, Tensor] = field(default_factory=dict)
    left_out: Tensor | None = None

    def place(self) -> str:
        """Return where in the training the batch is."""
        return f"step {self.step} (epoch {self.epoch}, batch {self.batch})"


@dataclass
class ReadBatch:
    """The same, read from the device.

    Attributes:
        watched: the batch.
        values: its losses and largest gradient.
        left_out: whether its step was left out.
    """

    watched: WatchedBatch
    values: dict[str, float]
    left_out: bool

    def fault(self) -> str | None:
        """Return the name and value of the first that is not finite, or None."""
        return next((f"{name} is {value}" for name, value in self.values.items() if not math.isfinite(value)), None)


class Watch:
    """Collects losses and gradients on the device without a wait of the host.

    Args:
        device: that trains.
        by_step: judge every step by itself; otherwise `bad` stays true from the first bad step on.

    Attributes:
        bad: () bool on the device, whether anything so far is not finite.
    """

    def __init__(self, device: torch.device, by_step: bool) -> None:
        self.by_step = by_step
        self.bad = torch.zeros((), dtype=torch.bool, device=device)
        self._batches: list[WatchedBatch] = []

    def __len__(self) -> int:
        return len(self._batches)

    def begin(self, batch: WatchedBatch) -> None:
        """Add a batch that is about to be trained on."""
        self._batches.append(batch)

    @torch.no_grad()
    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add values, each () on the device, of the batch that has begun."""
        kept = {name: value.detach().float() for name, value in values.items()}
        self._batches[-1].values.update(kept)
        for value in kept.values():
            self.bad = self.bad | ~value.isfinite()

    @torch.no_grad()
    def add_gradient(self, optimizer: Optimizer) -> None:
        """Add the largest gradient of the step that the batch ends."""
        gradients = [x.grad for group in optimizer.param_groups for x in group["params"] if x.grad is not None]
        if gradients:
            self.add({GRADIENT: largest(gradients)})

    def end_step(self) -> None:
        """Mark the batches of the step that was taken, or left out if `bad`."""
        for batch in self._batches:
            batch.left_out = self.bad if batch.left_out is None else batch.left_out
        if self.by_step:
            self.bad = torch.zeros_like(self.bad)

    def read(self) -> list[ReadBatch]:
        """Return the batches since the last reading that have values, with `by_step` those of whole steps; it waits."""
        done = [batch for batch in self._batches if (batch.left_out is not None if self.by_step else batch.values)]
        self._batches = self._batches[len(done) :]
        values = [value for batch in done for value in batch.values.values()]
        left_out = [self.bad if batch.left_out is None else batch.left_out for batch in done]
        numbers = iter(_numbers([*values, *left_out]))
        rows = [{name: next(numbers) for name in batch.values} for batch in done]
        return [ReadBatch(batch, row, bool(next(numbers))) for batch, row in zip(done, rows, strict=True)]


def _numbers(values: Sequence[Tensor]) -> list[float]:
    """Return () tensors of one device as numbers, in one copy."""
    return torch.stack([value.float() for value in values]).tolist() if values else []
