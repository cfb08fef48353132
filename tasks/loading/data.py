"""Base LightningDataModule: loaders, shares of processes, and resuming within an epoch."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch.utils.data import DataLoader

from vertebra.tasks.loading.balance import repeat_factors
from vertebra.tasks.loading.dataset import TaskDataset
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.folds import Division
from vertebra.tasks.loading.loader_process import begin_loader_process
from vertebra.tasks.loading.resumable_loader import ResumableLoader
from vertebra.tasks.loading.samplers import GroupedBatches, SampleRequest, Shard
from vertebra.tasks.loading.splits import R, SplitData


class TaskData(SplitData[R]):
    """Base LightningDataModule of every task: data sets and loaders of the splits, and samples for predictions.

    A subclass makes data sets of the records of a split; its constructor passes these arguments on as `**loading`.
    Samples are divided among processes here, so a `Trainer` needs `use_distributed_sampler=False`: processes train on
    equally many batches, and in evaluation no sample comes twice.

    Args:
        batch_size: samples per batch and process.
        num_workers: loader processes per training process; by default one less than there are cores, at most eight.
        missing: reaction to a sample that cannot be read: `error` stops, `skip` leaves it out with a warning.
        class_names: the classes in the order of their labels; read from the training split by default, by
            `vertebra predict` from the checkpoint.
        predict: files and folders for `vertebra predict`.
        val_fraction: above 0, fraction of `train` that is held out for validation instead of `val`: stratified by
            class, always the same, and in whole groups (patients, recordings).
        folds: above 1, number of folds that `train` is divided into in the same way; `fold` is the validation split.
        fold: index of the held-out fold, from 0 to below `folds`.
        balance: exponent of the oversampling of rare classes, see `balance.repeat_factors`: 0 draws each sample once an
            epoch, 1 in full proportion.

    Attributes:
        paths: what is predicted on: files, folders, and names of `given`.
        given: samples in memory by name, in place of files, for predictions from Python.
        preprocessing: names of the attributes that define what the network sees of a file.
    """

    preprocessing: ClassVar[tuple[str, ...]] = ("pixels", "resize")

    @property
    def sample_dims(self) -> tuple[int, ...]:
        """Numbers of dimensions that an array of one sample may have; here of an image, gray or with channels."""
        return 2, 3

    def __init__(
        self,
        batch_size: int,
        num_workers: int | None = None,
        missing: Missing = "error",
        class_names: Sequence[str] | None = None,
        predict: Sequence[str] | None = None,
        val_fraction: float = 0.0,
        folds: int = 0,
        fold: int = 0,
        balance: float = 0.0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch holds at least 1 sample.")
        if not 0 <= balance <= 1:
            raise ValueError(f"balance is {balance}; it is from 0 (each sample once) to 1 (in full proportion).")
        super().__init__(missing, class_names, Division(val_fraction, folds, fold))
        self.balance = balance
        self.batch_size = batch_size
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        self.paths = list(predict or [])
        self.given: Mapping[str, Any] = {}
        self._loader: ResumableLoader | None = None
        self._resume: dict[str, int] | None = None

    @abstractmethod
    def unlabeled(self, paths: Sequence[str]) -> R:
        """Return what is to be predicted on: the files at `paths`, and those of the folders among them."""

    @abstractmethod
    def dataset(self, records: R, training: bool, missing: Missing) -> TaskDataset:
        """Return the samples of a split, in training with augmentation."""

    @staticmethod
    @abstractmethod
    def collate(reads: Any) -> Any:
        """Make a batch of what a `TaskDataset` gave."""

    def batch_groups(self, records: R, size: int) -> Sequence[int]:
        """Return the batch group of each training sample; a batch has samples of one, such as of one image shape."""
        return [0] * size

    def weights(self, records: R) -> Sequence[float] | None:
        """Return how often each training sample is drawn beside the others; None draws each once an epoch."""
        return repeat_factors(self.classes_of(records), self.balance).tolist() if self.balance else None

    def train_dataloader(self) -> ResumableLoader:
        records = self.records("train")
        dataset = self.dataset(records, True, self.missing)
        rank, world_size = self._share()
        groups = self.batch_groups(records, len(dataset))
        weights, epochs = self.weights(records), self._epochs()
        batches = GroupedBatches(groups, self.batch_size, run_seed(), rank, world_size, weights, epochs)
        options = self._options(self.num_workers)
        self._loader = ResumableLoader(dataset, batch_sampler=batches, collate_fn=self.collate, **options)
        if self._resume is not None:
            self._loader.load_state_dict(self._resume)
            self._resume = None
        return self._loader

    def costliest_batch(self, size: int) -> Any:
        """Return a training batch of `size` samples that takes as much memory as any can."""
        dataset = self.costliest_dataset(self.records("train"))
        reads = [dataset[SampleRequest(index, 0, 0)] for index in self.costliest_samples(self.records("train"))]
        return self.collate([reads[i % len(reads)] for i in range(size)])

    def costliest_dataset(self, records: R) -> TaskDataset:
        """Return the training samples in their largest size."""
        return self.dataset(records, True, self.missing)

    def costliest_samples(self, records: R) -> Sequence[int]:
        """Return the samples that take most memory; the first one where all are alike."""
        return [0]

    def val_dataloader(self) -> DataLoader:
        return self.in_order(self.dataset(self.records("val"), False, self.missing))

    def test_dataloader(self) -> DataLoader:
        return self.in_order(self.dataset(self.records("test"), False, self.missing))

    def predict_dataloader(self) -> DataLoader:
        if not self.paths:
            raise ValueError("data.predict is empty; give files or folders: --data.predict PATH.")
        return self.in_order(self.predict_dataset())

    def predict_dataset(self) -> TaskDataset:
        """Return the samples of `vertebra predict`; one broken file among many is no reason to refuse the others."""
        return self.dataset(self.unlabeled(self.paths), False, "skip")

    def listed(self, paths: Sequence[str], find: Callable[[Sequence[str]], Sequence[Any]]) -> list[str]:
        """Return the names of the samples at `paths`: those of `given` as they are, files as `find` lists them."""
        return [str(name) for path in paths for name in ([path] if path in self.given else find([path]))]

    # Lightning restores the state of a loader that is created after the checkpoint is read, but a schedule that needs
    # the loader's length creates it before.

    def state_dict(self) -> dict[str, int]:
        return self._loader.state_dict() if self._loader else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._resume = state_dict or None

    def in_order(self, dataset: TaskDataset) -> DataLoader:
        """Return a loader of this process's share of a data set, in order."""
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=Shard(len(dataset), *self._share()),
            collate_fn=self.collate,
            **self._options(min(self.num_workers, len(dataset))),
        )

    @property
    def is_trial(self) -> bool:
        """Whether there is no trainer, or one that only tries a step of each kind."""
        return self.trainer is None or bool(getattr(self.trainer, "fast_dev_run", False))

    def _epochs(self) -> int | None:
        epochs = None if self.trainer is None or self.is_trial else self.trainer.max_epochs
        return epochs if epochs and epochs > 0 else None

    def _share(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _options(self, num_workers: int) -> dict[str, Any]:
        return {
            "num_workers": num_workers,
            "persistent_workers": num_workers > 0,
            "worker_init_fn": begin_loader_process,
            "pin_memory": torch.cuda.is_available(),
        }


def run_seed() -> int:
    """Return the seed of the run, which is the same in all of its processes."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def default_num_workers() -> int:
    """Return how many loader processes suit this machine: its cores less the one that trains, at most 8."""
    # the cores of this process: a scheduler may give it fewer than the machine has
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(8, cores - 1))
