"""Recording of losses and gradients on the device, read in batches without synchronizing every step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from vertebra.tasks.training.divergence.finite import max_abs

GRADIENT = "the maximum absolute gradient"


@dataclass
class WatchedBatch:
    """Training batch with recorded values on the device.

    Attributes:
        step: number of optimizer steps before it.
        epoch: epoch, from 0.
        batch: index in the epoch, from 0.
        files: files of the samples.
        values: losses by name, and the maximum absolute gradient if the batch completed a step; () float32.
        skipped: whether its step was skipped, () bool; None before the step.
    """

    step: int
    epoch: int
    batch: int
    files: list[str]
    values: dict[str, Tensor] = field(default_factory=dict)
    skipped: Tensor | None = None

    def position(self) -> str:
        """Return step, epoch and batch for messages."""
        return f"step {self.step} (epoch {self.epoch}, batch {self.batch})"


@dataclass
class ReadBatch:
    """Training batch with values read from the device.

    Attributes:
        watched: the recorded batch.
        values: losses and maximum absolute gradient by name.
        skipped: whether its step was skipped.
    """

    watched: WatchedBatch
    values: dict[str, float]
    skipped: bool

    def fault(self) -> str | None:
        """Return name and value of the first non-finite loss or gradient, or None."""
        return next((f"{name} is {value}" for name, value in self.values.items() if not math.isfinite(value)), None)


class Watch:
    """Recorder of losses and gradients on the device, without synchronization.

    Args:
        device: training device.
        by_step: reset `bad` after every step; otherwise it stays true from the first bad step on.

    Attributes:
        bad: () bool on the device, whether any recorded value is not finite.
    """

    def __init__(self, device: torch.device, by_step: bool) -> None:
        self.by_step = by_step
        self.bad = torch.zeros((), dtype=torch.bool, device=device)
        self._batches: list[WatchedBatch] = []

    def __len__(self) -> int:
        return len(self._batches)

    def begin(self, batch: WatchedBatch) -> None:
        """Begin a training batch."""
        self._batches.append(batch)

    @torch.no_grad()
    def add(self, values: Mapping[str, Tensor]) -> None:
        """Record values of the current batch, each () on the device."""
        # float32: values of several types are read as one tensor
        recorded = {name: value.detach().float() for name, value in values.items()}
        self._batches[-1].values.update(recorded)
        for value in recorded.values():
            # not in place: batches of an earlier step refer to the old tensor
            self.bad = self.bad | ~value.isfinite()

    @torch.no_grad()
    def add_gradient(self, optimizer: Optimizer) -> None:
        """Record the maximum absolute gradient of the step that the current batch completes."""
        gradients = [x.grad for group in optimizer.param_groups for x in group["params"] if x.grad is not None]
        if gradients:
            self.add({GRADIENT: max_abs(gradients)})

    def end_step(self) -> None:
        """Mark the batches of the completed step as taken, or as skipped if `bad`."""
        for batch in self._batches:
            # of all batches whose gradients the step accumulates
            batch.skipped = self.bad if batch.skipped is None else batch.skipped
        if self.by_step:
            self.bad = torch.zeros_like(self.bad)

    def read(self) -> list[ReadBatch]:
        """Read the batches recorded since the last call, with `by_step` those of completed steps; synchronizes."""
        # a batch without values is still in its forward pass
        done = [batch for batch in self._batches if (batch.skipped is not None if self.by_step else batch.values)]
        self._batches = self._batches[len(done) :]
        values = [value for batch in done for value in batch.values.values()]
        skipped = [self.bad if batch.skipped is None else batch.skipped for batch in done]
        numbers = iter(_numbers([*values, *skipped]))
        rows = [{name: next(numbers) for name in batch.values} for batch in done]
        return [ReadBatch(batch, row, bool(next(numbers))) for batch, row in zip(done, rows, strict=True)]


def _numbers(values: Sequence[Tensor]) -> list[float]:
    """Return () tensors of one device as numbers, with a single copy to the host."""
    # each copy to the host waits for the device
    return torch.stack([value.float() for value in values]).tolist() if values else []
