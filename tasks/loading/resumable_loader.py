"""Training loader that resumes within an epoch and measures how long steps wait for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from vertebra.tasks.loading.samplers import GroupedBatches


class ResumableLoader(DataLoader):
    """A training loader that resumes in the middle of an epoch; Lightning keeps its state in checkpoints.

    Attributes:
        position: epoch, and how many batches of it have been trained on; `TaskModule` keeps it.
        waited: seconds that the step waited for its batch; None for the first batch of an epoch, which waits for
            loader processes to start.
    """

    batch_sampler: GroupedBatches
    position = (0, 0)
    waited: float | None = None

    def __iter__(self) -> Any:
        self.waited = None
        return self._timed(super().__iter__())

    def _timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        is_first = True
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.waited = None if is_first else time.perf_counter() - began
            is_first = False
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the position."""
        return {"epoch": self.position[0], "batches": self.position[1]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Make the next pass the rest of the epoch that was cut, or the epoch after one that was whole."""
        epoch, batches = state["epoch"], state["batches"]
        self.position = (epoch, batches) if batches < len(self) else (epoch + 1, 0)
        self.batch_sampler.skip = self.position
        self.batch_sampler.set_epoch(self.position[0])
