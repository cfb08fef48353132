"""Base LightningDataModule: splits, folds, loaders, shares of processes, and resuming within an epoch."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from vertebra.tasks.loading.balance import rarest_classes, repeat_factors
from vertebra.tasks.loading.class_names import shortened, untrained_classes
from vertebra.tasks.loading.dataset import Missing, TaskDataset
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.folds import Division
from vertebra.tasks.loading.loader_process import begin_loader_process
from vertebra.tasks.loading.resumable_loader import ResumableLoader
from vertebra.tasks.loading.samplers import GroupedBatches, SampleRequest, Shard

# what `missing=skip` leaves out
SKIPPABLE = (faults.MISSING_FILE, faults.UNREADABLE_IMAGE, faults.UNREADABLE_VIDEO, faults.UNREADABLE_SCAN)


class Records(Protocol):
    """The content of a split, before any sample is read."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K classes, in the order of their labels."""

    def only(self, indices: np.ndarray) -> Any:
        """Return the samples at `indices`, as records of the same type."""


R = TypeVar("R", bound=Records)


class TaskData(LightningDataModule, ABC, Generic[R]):
    """Base LightningDataModule: splits, folds and loaders; classes are read from the training split.

    A subclass reads files (`load`), makes data sets of them, and gives the classes in each sample (`classes_of`) and
    its group (`groups_of`); its constructor passes these arguments on as `**loading`. Samples are divided among
    processes here, so a `Trainer` needs `use_distributed_sampler=False`: processes train on equally many batches, and
    in evaluation no sample comes twice.

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
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch holds at least 1 sample.")
        if not 0 <= balance <= 1:
            raise ValueError(f"balance is {balance}; it is from 0 (each sample once) to 1 (in full proportion).")
        self.division = Division(val_fraction, folds, fold)
        self.balance = balance
        self.batch_size = batch_size
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        self.missing = missing
        self._class_names = class_names
        self.paths = list(predict or [])
        self.given: Mapping[str, Any] = {}
        self._divided: dict[str, R] = {}
        self._records: dict[str, R] = {}
        self._loader: ResumableLoader | None = None
        self._resume: dict[str, int] | None = None

    @abstractmethod
    def load(self, split: str, class_names: Sequence[str] | None) -> R:
        """Read the files of `train`, `val` or `test`.

        Args:
            split: which.
            class_names: the classes of the training split; None to read them.

        Raises:
            FileNotFoundError: a file or folder does not exist.
            ValueError: no such split is given, or it has faults that loading cannot repair.
        """

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

    @abstractmethod
    def classes_of(self, records: R) -> np.ndarray:
        """Return the class of each sample (N,) int64, or which classes are in it (N, K) bool."""

    def groups_of(self, records: R) -> np.ndarray | None:
        """Return where each sample comes from (N,) str, such as a patient; None makes each a group of its own."""
        return None

    def label_counts(self, records: R) -> np.ndarray | None:
        """Return how many labels each class has, (K,) int64; None where counting them would read every file."""
        return None

    def title(self, split: str) -> str:
        """Return the name of a split for messages, such as its file."""
        return f"data.{split}"

    def cleaned(self, split: str, records: R) -> R:
        """Return the samples of a split that may be used beside the other splits."""
        return records

    def batch_groups(self, records: R, size: int) -> Sequence[int]:
        """Return the batch group of each training sample; a batch has samples of one, such as of one image shape."""
        return [0] * size

    def weights(self, records: R) -> Sequence[float] | None:
        """Return how often each training sample is drawn beside the others; None draws each once an epoch."""
        return repeat_factors(self.classes_of(records), self.balance).tolist() if self.balance else None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K classes, in the order of their labels, as given or as read from the training split."""
        return tuple(self._class_names) if self._class_names else self.divided("train").class_names

    @property
    def num_classes(self) -> int:
        """K, the number of classes; a detector's background is none."""
        return len(self.class_names)

    def records(self, split: str) -> R:
        """Return the samples of `train`, `val` or `test`, read once; see `load` for errors."""
        if split not in self._records:
            # where classes are given, the training split need not exist, and may be read after the others
            is_late = split == "train" and "train" not in self._divided
            self._records[split] = self.cleaned(split, self.divided(split))
            for other in list(self._records) if is_late else [split]:
                if other != "train":
                    self._warn_untrained(other)
        return self._records[split]

    def _warn_untrained(self, split: str) -> None:
        training = self._records.get("train", self._divided.get("train"))
        if training is None:
            return
        counts, trained = (self.label_counts(records) for records in (self._records[split], training))
        if counts is not None and trained is not None:
            names, is_held_out = training.class_names, split == "val" and self.division.holds_out
            found = untrained_classes(
                dict(zip(names, counts.tolist(), strict=True)),
                dict(zip(names, trained.tolist(), strict=True)),
                self.title("train" if is_held_out else split),
                self.title("train") + (" without the held-out part" if is_held_out else ""),
            )
            self.handle_faults(list(found), {faults.UNTRAINED_CLASS: "kept"})

    def divided(self, split: str) -> R:
        """Return what is read for a split, or with `val_fraction` and `folds` its part of the training split."""
        if split not in self._divided:
            # the test split is never divided: it has to stay the same over all folds
            if split == "test" or not self.division.holds_out:
                self._divided[split] = self.load(split, self._class_names if split == "train" else self.class_names)
            else:
                whole = self.load("train", self._class_names)
                # of several classes in a sample the rarest counts, as it is the hardest to divide evenly
                held = self.division.held_out(rarest_classes(self.classes_of(whole)), self.groups_of(whole))
                self._divided["train"] = whole.only(np.flatnonzero(~held))
                self._divided["val"] = whole.only(np.flatnonzero(held))
        return self._divided[split]

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

    def handle_faults(self, found: Sequence[Fault], repaired: Mapping[str, str], split: str = "train") -> None:
        """Warn once for each kind of fault that loading repairs, and refuse all others.

        Args:
            found: the faults of a split.
            repaired: kind of fault -> what loading does about it, such as `clipped`.
            split: whose they are. Where the classes are given, as those of a checkpoint are, other classes of an
                evaluation split are left out.

        Raises:
            ValueError: there is a fault of another kind; files that cannot be read are left out with `missing=skip`.
        """
        if self.missing == "skip":
            repaired = {**dict.fromkeys(SKIPPABLE, "left out"), **repaired}
        if self._class_names and split != "train":
            repaired = {faults.UNKNOWN_CATEGORY: "left out", **repaired}
        fatal = [fault for fault in found if fault.kind not in repaired]
        if fatal:
            more = f" (and {len(fatal) - 1} more faults)" if len(fatal) > 1 else ""
            remedy = "Correct the file" + (", or data.missing=skip" if fatal[0].kind in SKIPPABLE else "")
            raise ValueError(f"{fatal[0]}{more}. {remedy}; `vertebra check` lists every fault.")
        for kind, count in Counter(fault.kind for fault in found).items():
            of_kind = [fault for fault in found if fault.kind == kind]
            files = dict.fromkeys(fault.file for fault in of_kind)
            more = f" (and {len(files) - 1} more files)" if len(files) > 1 else ""
            names = dict.fromkeys(fault.class_name for fault in found if fault.kind == kind and fault.class_name)
            which = f" ({shortened(list(names))})" if names else ""
            warnings.warn(
                f"{of_kind[0].file}{more}: {repaired[kind]} {count} x {kind}{which}; `vertebra check` lists them, the "
                f"first: {of_kind[0].message}",
                stacklevel=2,
            )

    def drop_missing(self, files: np.ndarray) -> np.ndarray:
        """Return which of the files (N,) exist, as indices; others are an error, or are left out with a warning."""
        # os.path and not Path, which raises of a name that is too long; a video may be a folder
        absent = np.array([not os.path.exists(str(file)) for file in files], dtype=bool)
        # all of them at once: a wrong data root would otherwise take a run for each file
        if absent.any():
            first = files[absent][0]
            if self.missing == "error":
                raise FileNotFoundError(
                    f"{absent.sum()} of {len(absent)} files do not exist, the first is {first}. "
                    "Fix data.root or the paths, or leave them out with data.missing=skip."
                )
            warnings.warn(f"left out {absent.sum()} files that do not exist, the first is {first}.", stacklevel=2)
        return np.flatnonzero(~absent)

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
