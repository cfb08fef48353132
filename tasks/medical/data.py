"""Medical data for training: lists of scans, MedMNIST's arrays, ChestX-ray14, and scans to predict on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from vertebra.tasks.loading.balance import rarest_classes
from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.medical.augment import Augment, Transform, usual_transforms
from vertebra.tasks.medical.balance import class_counts
from vertebra.tasks.medical.cache import Cache
from vertebra.tasks.medical.check import absent_classes
from vertebra.tasks.medical.dataset import MedicalDataset, collate
from vertebra.tasks.medical.formats.scan_folders import find_scans
from vertebra.tasks.medical.formats.study_options import Columns
from vertebra.tasks.medical.geometry import Resample
from vertebra.tasks.medical.intensity import Intensity, Percentiles
from vertebra.tasks.medical.leaks import Leak, digests_of, shared_images, shared_patients
from vertebra.tasks.medical.studies import Kind, Studies, unlabeled_studies
from vertebra.tasks.medical.usable_studies import usable_studies

SPLITS = ("train", "val", "test")  # of two that share something, the one that comes first gives way


class MedicalData(TaskData[Studies]):
    """Loads studies with classes, grades or findings; classes are read from the training split.

    Splits that share a patient or an image are refused, or the training side is freed of what it shares.

    Args:
        root: a folder, or MedMNIST's `.npz` with all splits.
        train: the training split, below `root`: a CSV with a row for each image, see `columns`, or ChestX-ray14's
            `train_val_list.txt`; if `root` is an `.npz`, the name of a split in it.
        val: the validation split, in the same form; not read with `val_fraction` or `folds`.
        test: the split of `vertebra test`, in the same form; its patients and images must not occur in training.
        kind: meaning of labels: exclusive `classes`, ordered `grades`, or `findings`, of which a study may have any
            number.
        columns: names of the columns of a CSV.
        leak: what to do about patients, or images with the same pixels, in two splits: `error`; `drop` removes those
            studies from the earlier of train, val, test, with a warning of how many; `checked` compares patients only,
            for large sets that `vertebra check` has passed, since comparing pixels reads every scan.
        intensity: scaling of the values of each scan; to percentiles, as suits X-rays, by default.
        resample: resampling to the input grid of the network.
        augment: MONAI array transforms for training, in order; small rotations, shifts and changes of brightness by
            default. Set `mode` and `padding_mode` explicitly (`bilinear`, `border`) in those that have them: their
            defaults are written to the configuration of a run under names that MONAI does not read.
        cache_mib: memory for decoded and resampled scans of one split, in MiB, over all loader processes; 0 reads every
            scan in every epoch.
        batch_size: studies per batch and process.
        loading: arguments of `TaskData`: folds of whole patients, balanced sampling, loader processes.
    """

    preprocessing: ClassVar[tuple[str, ...]] = ("intensity", "resample")

    def __init__(
        self,
        root: str = ".",
        train: str = "train",
        val: str = "val",
        test: str | None = None,
        kind: Kind = "classes",
        columns: Columns | None = None,
        leak: Literal["error", "drop", "checked"] = "error",
        intensity: Intensity | None = None,
        resample: Resample | None = None,
        augment: list[Transform] | None = None,
        cache_mib: float = 512.0,
        batch_size: int = 8,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size, **loading)
        self.root = Path(root)
        self.sources = dict(zip(SPLITS, (train, val, test), strict=True))
        self.kind: Kind = kind
        self.collate = partial(collate, kind=kind)
        self.columns = columns or Columns()
        self.leak = leak
        self.intensity = intensity or Percentiles()
        self.resample = resample or Resample()
        self.augment = Augment(usual_transforms(self.resample.size) if augment is None else augment)
        self.cache_mib = cache_mib
        self._digests: dict[str, list[list[bytes]]] = {}

    @property
    def sample_dims(self) -> tuple[int, ...]:
        return (2, 3) if len(self.resample.size) == 2 else (3,)

    def load(self, split: str, class_names: Sequence[str] | None) -> Studies:
        source = self.sources[split]
        if source is None:
            raise ValueError(f"data.{split} is not given; set it as data.train is set.")
        return usable_studies(self.root, source, split, class_names, self.kind, self.columns, self.policy)

    def cleaned(self, split: str, records: Studies) -> Studies:
        later = SPLITS[SPLITS.index(split) + 1 :]
        found = [leak for other in later if self.sources[other] is not None for leak in self._leaks(split, other)]
        leaks: dict[int, Fault] = {}
        for leak in sorted(found, key=lambda leak: leak.study):
            leaks.setdefault(leak.study, leak.fault)  # a study is left out once, for the first reason
        self.policy.handle(list(leaks.values()), {faults.LEAK: "left out"} if self.leak == "drop" else {})
        studies = records.only(np.setdiff1d(np.arange(len(records)), list(leaks)))
        if not len(studies):
            raise ValueError(f"{self.title(split)}: holds no study that can be used; data.{split} needs some.")
        for fault in absent_classes(studies, self.title(split)):
            warnings.warn(str(fault), stacklevel=2)
        return studies

    def classes_of(self, records: Studies) -> np.ndarray:
        # of its findings a study counts for the rarest, and those without any are a class of their own
        return rarest_classes(records.labels == 1) if records.are_findings else records.labels

    def label_counts(self, records: Studies) -> np.ndarray:
        return class_counts(records)

    def title(self, split: str) -> str:
        return f"{self.divided(split).file} ({split})"

    def groups_of(self, records: Studies) -> np.ndarray:
        return records.patients

    def unlabeled(self, paths: Sequence[str]) -> Studies:
        files = self.listed(paths, find_scans)
        return unlabeled_studies(files, self.class_names, self.kind, self.columns.study is not None, self.given)

    def dataset(self, records: Studies, training: bool, missing: Missing) -> MedicalDataset:
        augment = self.augment if training else None
        return MedicalDataset(records, self.intensity, self.resample, augment, Cache(self.cache_mib), missing)

    collate = staticmethod(collate)  # an instance binds the kind of its labels

    def _leaks(self, split: str, other: str) -> list[Leak]:
        """Find the studies of a split that share something with a later one; each comes once for each reason."""
        pair = self.divided(split), self.divided(other)
        leaks = list(shared_patients(*pair))
        if self.leak != "checked":
            for name in (split, other):
                if name not in self._digests:
                    self._digests[name] = digests_of(self.divided(name))
            leaks += shared_images(pair[0], self._digests[split], pair[1], self._digests[other])
        return leaks
