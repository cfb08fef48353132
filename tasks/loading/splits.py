"""Base LightningDataModule of splits: records, held-out parts and folds, classes, and faults in the files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from lightning.pytorch import LightningDataModule

from vertebra.tasks.loading.balance import rarest_classes
from vertebra.tasks.loading.class_names import untrained_classes
from vertebra.tasks.loading.fault_policy import FaultPolicy, Missing
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.folds import Division


class Records(Protocol):
    """The content of a split, before any sample is read."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K classes, in the order of their labels."""

    def only(self, indices: np.ndarray) -> Any:
        """Return the samples at `indices`, as records of the same type."""


R = TypeVar("R", bound=Records)


class SplitData(LightningDataModule, ABC, Generic[R]):
    """Base LightningDataModule of splits: which samples are in `train`, `val` and `test`, and their classes.

    A subclass reads files (`load`), and gives the classes in each sample (`classes_of`) and its group (`groups_of`).

    Args:
        missing: reaction to a sample that cannot be read: `error` stops, `skip` leaves it out with a warning.
        class_names: the classes in the order of their labels; None to read them from the training split.
        division: part of the training split that is held out for validation.
    """

    def __init__(self, missing: Missing, class_names: Sequence[str] | None, division: Division) -> None:
        super().__init__()
        self.division = division
        self.missing = missing
        self._class_names = class_names
        self._divided: dict[str, R] = {}
        self._records: dict[str, R] = {}

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
            self.policy.handle(list(found), {faults.UNTRAINED_CLASS: "kept"})

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

    @property
    def policy(self) -> FaultPolicy:
        """What is done about faults of the splits."""
        return FaultPolicy(self.missing, bool(self._class_names))
