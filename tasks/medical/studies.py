"""Studies of one split: labels, patients and sources of the images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.labeled_files import UNLABELED
from vertebra.tasks.medical.given_scan import given_scan
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.medical.scans import Scan, finite

Kind = Literal["classes", "grades", "findings"]


class Images(ABC):
    """The images of N studies.

    Attributes:
        grouped: whether a study may have several; else each has one.
    """

    grouped: bool

    @abstractmethod
    def read(self, index: int) -> list[Scan]:
        """Return the images of a study, one or more.

        Raises:
            UnreadableScan: one of them is missing, broken or incomplete.
        """

    @abstractmethod
    def only(self, indices: np.ndarray) -> Images:
        """Return the images of the studies at `indices`."""


@dataclass(frozen=True)
class ScanFiles(Images):
    """A file, or a folder of a DICOM series, for each image.

    Args:
        files: (M,) str, paths, study by study. Arrays and not lists: each loader process would copy the strings of a
            list, since Python counts who holds them.
        starts: (N + 1,) int64, where in `files` each study begins, and at last M.
        grouped: whether a study may have several.
        given: scans in memory by name, see `given_scan`; every other name is the path of a file.
    """

    files: np.ndarray
    starts: np.ndarray
    grouped: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)

    def read(self, index: int) -> list[Scan]:
        names = map(str, self.files[self.starts[index] : self.starts[index + 1]])
        return [given_scan(self.given[name], name) if name in self.given else read_scan(name) for name in names]

    def only(self, indices: np.ndarray) -> ScanFiles:
        counts = np.diff(self.starts)[indices]
        spans = [np.arange(self.starts[index], self.starts[index + 1]) for index in indices]
        taken = np.concatenate(spans) if spans else np.zeros(0, dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return ScanFiles(self.files[taken], starts, self.grouped, self.given)


@dataclass(frozen=True)
class Arrays(Images):
    """Pixels in memory, in the type that the file has, shared by all splits that are drawn from them.

    Args:
        pixels: (A, H, W), (A, H, W, 3) of images in color, or (A, D, H, W).
        indices: (N,) int64, index in `pixels` of each study.
        title: name of the pixels, before their number.
    """

    pixels: np.ndarray
    indices: np.ndarray
    title: str
    grouped: bool = False

    def read(self, index: int) -> list[Scan]:
        row = int(self.indices[index])
        pixels = self.pixels[row]
        in_color = pixels.ndim == 3 and pixels.shape[2] == 3
        channels = np.moveaxis(pixels, 2, 0) if in_color else pixels[None]
        return [finite(Scan(f"{self.title} {row}", np.ascontiguousarray(channels, dtype=np.float32)))]

    def only(self, indices: np.ndarray) -> Arrays:
        return Arrays(self.pixels, self.indices[indices], self.title)


@dataclass(frozen=True, eq=False)
class Studies:
    """Studies, and what is known of them.

    Attributes:
        class_names: the K classes, grades or findings.
        names: (N,) str, name of each study: a path, `pneumonia.npz train 17`, or the id of a study.
        labels: (N,) int64 in 0..K-1 of classes and grades, `UNLABELED` where it is unknown; or (N, K) float32 of
            findings, 1 there, 0 not there, NaN unknown.
        patients: (N,) str; where it is unknown, every study is a patient of its own, with the study's name.
        images: where the images come from.
        file: the list of the studies, empty where there is none.
        rows: (N,) str, where in that list, such as `line 7`.
    """

    class_names: tuple[str, ...]
    names: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    images: Images
    file: str
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def are_findings(self) -> bool:
        """Whether a study may be of several classes at once, or of none."""
        return self.labels.ndim == 2

    def only(self, indices: np.ndarray) -> Studies:
        """Return the studies at `indices`."""
        return replace(
            self,
            names=self.names[indices],
            labels=self.labels[indices],
            patients=self.patients[indices],
            images=self.images.only(indices),
            rows=self.rows[indices],
        )

    def place(self, index: int) -> str:
        """Return the name of a study and its row: `a.nii.gz (line 7 of train.csv)`."""
        name, row = str(self.names[index]), str(self.rows[index])
        return name if name.endswith(row) else f"{name} ({row} of {self.file})"

    def fault(self, kind: str, index: int, message: str) -> Fault:
        """Return a fault of one study, with file and row."""
        if self.file:
            return Fault(kind, self.file, f"{self.rows[index]}: {message}")
        return Fault(kind, str(self.names[index]), message)


def unlabeled_studies(
    files: Sequence[str],
    class_names: Sequence[str],
    kind: Kind,
    grouped: bool,
    given: Mapping[str, Any] | None = None,
) -> Studies:
    """Return scans of which nothing is known, each a study and a patient of its own.

    Args:
        files: paths of scans.
        class_names: the K classes that there are.
        kind: what the labels would be.
        grouped: whether the network takes studies of several images.
        given: scans in memory by name.
    """
    names = np.array(files, dtype=str)
    unknown: np.ndarray = np.full(len(files), UNLABELED, dtype=np.int64)
    if kind == "findings":
        unknown = np.full((len(files), len(class_names)), np.nan, dtype=np.float32)
    images = ScanFiles(names, np.arange(len(files) + 1), grouped, given or {})
    return Studies(tuple(class_names), names, unknown, names, images, "", np.full(len(files), "", dtype=str))
