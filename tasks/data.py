"""What every task's data shares: loaders, a share for each process, and the place where a run was cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from tasks.samplers import GroupedBatches, Shard


class ResumableLoader(DataLoader):
    """A training loader that can go on in the middle of an epoch; Lightning keeps its state in checkpoints.

    Attributes:
        position: epoch, and how many batches of it have been trained on; `TaskModule` keeps it.
    """

    batch_sampler: GroupedBatches
    position = (0, 0)

    def state_dict(self) -> dict[str, int]:
        """Return the position."""
        return {"epoch": self.position[0], "batches": self.position[1]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Make the next pass the rest of the epoch that was cut, or the epoch after one that was whole."""
        epoch, batches = state["epoch"], state["batches"]
        self.position = (epoch, batches) if batches < len(self) else (epoch + 1, 0)
        self.batch_sampler.skip = self.position
        self.batch_sampler.set_epoch(self.position[0])


class TaskData(LightningDataModule):
    """Makes loaders for a task's data sets.

    The sharing of samples among processes is done here (a `Trainer` is to be told `use_distributed_sampler=False`):
    training batches are dealt out evenly, and in evaluation no sample is seen twice.

    Args:
        batch_size: samples in a batch of one process.
        num_workers: loader processes of one process; None for one per core, at most eight, less one.
    """

    def __init__(self, batch_size: int, num_workers: int | None = None) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch holds at least 1 sample.")
        self.batch_size = batch_size
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        self._loader: ResumableLoader | None = None
        self._resume: dict[str, int] | None = None

    @property
    def class_names(self) -> Sequence[str]:
        """The K classes, in the order of their labels, as the data set tells them."""
        raise NotImplementedError(f"{type(self).__name__} does not tell its classes")

    def training_loader(
        self, dataset: Dataset, groups: Sequence[int], collate: Callable[[list], Any]
    ) -> ResumableLoader:
        """Make a loader of shuffled batches; `dataset` is asked for `Draw`s."""
        rank, world_size = self._share()
        # what seed_everything was told, which every process has been told alike
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        batches = GroupedBatches(groups, self.batch_size, seed, rank, world_size)
        options = self._options(self.num_workers)
        self._loader = ResumableLoader(dataset, batch_sampler=batches, collate_fn=collate, **options)
        if self._resume is not None:
            self._loader.load_state_dict(self._resume)
            self._resume = None
        return self._loader

    def evaluation_loader(self, dataset: Dataset, collate: Callable[[list], Any]) -> DataLoader:
        """Make a loader of all samples in order; `dataset` is asked for indices."""
        size = len(dataset)  # type: ignore[arg-type]
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=Shard(size, *self._share()),
            collate_fn=collate,
            **self._options(min(self.num_workers, size)),
        )

    # Lightning would give the loader its state by itself, but not where the schedule asked for the loader's length
    # before: then the loader exists when the checkpoint is read.

    def state_dict(self) -> dict[str, int]:
        return self._loader.state_dict() if self._loader else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._resume = state_dict or None

    def _share(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _options(self, num_workers: int) -> dict[str, Any]:
        return {
            "num_workers": num_workers,
            "persistent_workers": num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }


def default_num_workers() -> int:
    """Return how many loader processes suit this machine: its cores less the one that trains, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(8, cores - 1))
