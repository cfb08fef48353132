"""Medical data for training: lists of scans, MedMNIST's arrays, ChestX-ray14, and scans to predict on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np

from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.loading.dataset import Missing
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.folds import check_division
from vertebra.tasks.medical.augment import Augment, Transform, usual_transforms
from vertebra.tasks.medical.balance import study_weights
from vertebra.tasks.medical.cache import Cache
from vertebra.tasks.medical.check import absent_classes, unlearned_classes
from vertebra.tasks.medical.dataset import MedicalDataset, collate
from vertebra.tasks.medical.formats import read_studies
from vertebra.tasks.medical.geometry import Resample
from vertebra.tasks.medical.intensity import Intensity, Percentiles
from vertebra.tasks.medical.leaks import Leak, digests_of, shared_images, shared_patients
from vertebra.tasks.medical.scan_folders import find_scans
from vertebra.tasks.medical.splits import fold, part
from vertebra.tasks.medical.studies import Kind, Studies, unlabeled_studies
from vertebra.tasks.medical.study_tables import Columns

MENDED = (faults.DUPLICATE_FILE,)  # by leaving it out; any other fault stops loading
SPLITS = ("train", "val", "test")  # of two that share something, the one that stands first gives way


class MedicalData(TaskData[Studies]):
    """Loads studies with classes, grades or findings; classes are read from the training split.

    Splits that share a patient or an image are refused, or the training side is freed of what it shares.

    Args:
        root: a folder, or MedMNIST's `.npz` with all splits.
        train: the training split: below `root` a CSV with a row for each image, see `columns`, or ChestX-ray14's
            `train_val_list.txt`; in an `.npz` the name of a split.
        val: the split that is measured on while training, as `train`; not read with `val_fraction` or `folds`.
        test: the split of `vertebra test`, as `train`; where it is given, nothing is trained on what it holds.
        kind: `classes` that exclude each other, two or more; `grades`, classes in an order; or `findings`, any number
            of which a study may have.
        columns: how the columns of a CSV are called.
        val_fraction: above 0, about this part of the studies of `train` is held apart to measure on, always the same;
            patients stay whole, and every class has its share.
        folds: above 1, `train` is dealt out so to so many folds, of which `fold` is measured on.
        fold: from 0 to below `folds`.
        leak: a patient of two splits, or an image with the same pixels in two, is an `error`; or `drop` leaves those
            studies out of the split that stands first of train, val, test, and says how many; `checked` compares
            patients only, for large sets that `vertebra check` has passed, since for pixels every scan is read.
        intensity: scales the values of each scan; to percentiles, as suits X-rays, if not given.
        resample: to the size that the network sees.
        augment: MONAI transforms of arrays for training, in order; small turns, shifts and changes of brightness if
            not given. Give those that have them their `mode` and `padding_mode` in words (`bilinear`, `border`): left
            out, they come into the configuration that a run keeps as names that MONAI itself does not read.
        balance: draw studies of rare classes more often, see `balance.study_weights`; 0 draws each once an epoch, 1
            every class as often as any other.
        cache_mib: memory in MiB for the scans of one split that are ready to be augmented, of all loader processes
            together; 0 reads each anew in every epoch.
        predict: scans and folders of scans for `vertebra predict`.
        class_names: the classes, where no training split gives them (the order of grades, what the numbers of an
            `.npz` mean); `vertebra predict` takes them from the checkpoint.
        missing: `error` stops at a scan that cannot be read; `skip` leaves it out, counts it and names it.
        batch_size: studies in a batch of one process.
        num_workers: loader processes of one process; None for what suits the machine.
    """

    def __init__(
        self,
        root: str = ".",
        train: str = "train",
        val: str = "val",
        test: str | None = None,
        kind: Kind = "classes",
        columns: Columns | None = None,
        val_fraction: float = 0.0,
        folds: int = 0,
        fold: int = 0,
        leak: Literal["error", "drop", "checked"] = "error",
        intensity: Intensity | None = None,
        resample: Resample | None = None,
        augment: list[Transform] | None = None,
        balance: float = 0.0,
        cache_mib: float = 512.0,
        predict: list[str] | None = None,
        class_names: list[str] | None = None,
        missing: Missing = "error",
        batch_size: int = 8,
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, missing, class_names, predict)
        check_division(val_fraction, folds, fold)
        if not 0 <= balance <= 1:
            raise ValueError(f"balance is {balance}; it is from 0 (each study once) to 1 (every class alike).")
        self.root = Path(root)
        self.sources = dict(zip(SPLITS, (train, val, test), strict=True))
        self.kind: Kind = kind
        self.collate = partial(collate, kind=kind)
        self.columns = columns or Columns()
        self.val_fraction = val_fraction
        self.folds = folds
        self.fold = fold
        self.leak = leak
        self.intensity = intensity or Percentiles()
        self.resample = resample or Resample()
        self.augment = Augment(usual_transforms(self.resample.size) if augment is None else augment)
        self.balance = balance
        self.cache_mib = cache_mib
        self._given: dict[str, Studies] = {}
        self._digests: dict[str, list[list[bytes]]] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        # as the list tells them: for this alone no scan is compared with any other
        return tuple(self._class_names) if self._class_names else self._studies("train").class_names

    def load(self, split: str, class_names: Sequence[str] | None) -> Studies:
        studies = self._studies(split)
        later = SPLITS[SPLITS.index(split) + 1 :]
        found = [leak for other in later if self.sources[other] is not None for leak in self._leaks(split, other)]
        leaks: dict[int, Fault] = {}
        for leak in sorted(found, key=lambda leak: leak.study):
            leaks.setdefault(leak.study, leak.fault)  # a study is left out once, for the first reason
        self.handle_faults(list(leaks.values()), {faults.LEAK: "left out"} if self.leak == "drop" else {})
        studies = studies.only(np.setdiff1d(np.arange(len(studies)), list(leaks)))
        if split == "train" and not (self.folds or self.val_fraction):
            self.handle_faults(list(unlearned_classes(studies, self._studies("val"))), {})
        if not len(studies):
            raise ValueError(f"{self._title(split)}: holds no study that can be used; data.{split} needs some.")
        for fault in absent_classes(studies, self._title(split)):
            warnings.warn(str(fault), stacklevel=2)
        return studies

    def unlabeled(self, paths: Sequence[str]) -> Studies:
        return unlabeled_studies(find_scans(paths), self.class_names, self.kind, self.columns.study is not None)

    def weights(self, records: Studies) -> Sequence[float] | None:
        return study_weights(records, self.balance) if self.balance else None

    def dataset(self, records: Studies, training: bool, missing: Missing) -> MedicalDataset:
        augment = self.augment if training else None
        return MedicalDataset(records, self.intensity, self.resample, augment, Cache(self.cache_mib), missing)

    collate = staticmethod(collate)  # an instance's own says what its labels mean

    def _studies(self, split: str) -> Studies:
        """Return what the lists say of a split, read once, before it is compared with others."""
        if split not in self._given:
            if split == "test" or not (self.folds or self.val_fraction):
                self._given[split] = self._read(split)
            else:
                divided = (
                    fold(self._whole, self.folds, self.fold) if self.folds else part(self._whole, self.val_fraction)
                )
                self._given[split] = self._whole.only(divided[0 if split == "train" else 1])
        return self._given[split]

    @cached_property
    def _whole(self) -> Studies:
        """The training split, of which a part is held apart to measure on."""
        return self._read("train")

    def _read(self, split: str) -> Studies:
        source = self.sources[split]
        if source is None:
            raise ValueError(f"data.{split} is not given; set it as data.train is set.")
        class_names = self._class_names if split == "train" else self.class_names
        studies, found = read_studies(self.root, source, self.kind, self.columns, class_names)
        self.handle_faults(found, dict.fromkeys(MENDED, "left out"))
        return studies

    def _title(self, split: str) -> str:
        return f"{self._studies(split).file} ({split})"

    def _leaks(self, split: str, other: str) -> list[Leak]:
        """Find the studies of a split that share something with a later one; each stands once for each reason."""
        pair = self._studies(split), self._studies(other)
        leaks = list(shared_patients(*pair))
        if self.leak != "checked":
            for name in (split, other):
                if name not in self._digests:
                    self._digests[name] = digests_of(self._studies(name))
            leaks += shared_images(pair[0], self._digests[split], pair[1], self._digests[other])
        return leaks
