"""Data set and batches of studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.loading.dataset import Read, TaskDataset, samples_of
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.medical.augment import Augment
from vertebra.tasks.medical.cache import Cache
from vertebra.tasks.medical.geometry import Resample
from vertebra.tasks.medical.intensity import Intensity
from vertebra.tasks.medical.scans import Scan, UnreadableScan
from vertebra.tasks.medical.studies import Kind, Studies


class Sample(NamedTuple):
    """A study as the network sees it.

    Attributes:
        images: (I, C, H, W) or (I, C, D, H, W) float32, its images.
        label: () int64 of classes and grades, or (K,) float32 of findings, see `Studies`.
        position: index of the study in its split.
        name: of the study.
        group: its patient.
        grouped: whether the network takes studies of several images; else I is 1.
    """

    images: np.ndarray
    label: np.ndarray
    position: int
    name: str
    group: str
    grouped: bool


class MedicalBatch(NamedTuple):
    """The batch of a training or evaluation step.

    Attributes:
        images: float32, about -1..1 or of zero mean: (N, C, H, W) or (N, C, D, H, W); of studies of several images
            (N, I, C, ...), padded with zeros along I.
        counts: N integers, images of each study; on the host, so that no step waits for the device.
        labels: (N,) int64 in 0..K-1, -1 where unlabeled; or of findings (N, K) float32, NaN where unknown.
        indices: (N,) int64, index of each study in its split.
        names: one a study, such as its path.
        groups: one a study, its patient.
        kind: what the labels mean.
        skipped: what could not be read, one message a file.
    """

    images: Tensor
    counts: list[int]
    labels: Tensor
    indices: Tensor
    names: list[str]
    groups: list[str]
    kind: Kind
    skipped: list[str]


class MedicalDataset(TaskDataset[Sample]):
    """Reads the studies of one split, scales their values, resamples and augments them.

    Args:
        studies: what is to be read.
        intensity: scales the values of each scan.
        resample: to the grid that the network sees.
        augment: for training, else None; each image of a study is augmented for itself.
        cache: of what is ready to be augmented.
        missing: see `TaskDataset`.
    """

    def __init__(
        self,
        studies: Studies,
        intensity: Intensity,
        resample: Resample,
        augment: Augment | None = None,
        cache: Cache | None = None,
        missing: Missing = "error",
    ) -> None:
        super().__init__(len(studies), missing)
        self.studies = studies
        self.intensity = intensity
        self.resample = resample
        self.augment = augment
        self.cache = cache or Cache(0)

    def read(self, index: int, draw: SampleRequest | None) -> Sample:
        images = self.cache.get(index, self._prepared)
        if self.augment is not None and draw is not None:
            images = np.stack([self.augment(image, draw.seed + number) for number, image in enumerate(images)])
        studies = self.studies
        name, patient = str(studies.names[index]), str(studies.patients[index])
        return Sample(images, studies.labels[index], index, name, patient, studies.images.grouped)

    def _prepared(self, index: int) -> np.ndarray:
        """Return the images of a study, scaled and resampled, (I, C, ...) float32."""
        try:
            return np.stack([self.seen(scan) for scan in self.studies.images.read(index)])
        except UnreadableScan as error:
            studies = self.studies
            row = f" It belongs to {studies.place(index)}." if studies.file else ""
            raise UnreadableScan(f"{error}{row}") from error

    def seen(self, scan: Scan) -> np.ndarray:
        """Return a scan as the network sees it, (C, H, W) or (C, D, H, W) float32."""
        # the values first: what is padded has no part in their range. It looks like the background, which is darkest
        scaled = self.intensity(scan.pixels)
        return self.resample(scan._replace(pixels=scaled), outside=float(scaled.flat[scan.pixels.argmin()]))


def collate(reads: Sequence[Read[Sample]], kind: Kind = "classes") -> MedicalBatch:
    """Stack studies, those of several images padded to as many; a batch of which nothing could be read has none.

    Args:
        reads: of a `MedicalDataset`.
        kind: what the labels mean.
    """
    samples, skipped = samples_of(reads)
    counts = [len(sample.images) for sample in samples]
    shape = samples[0].images.shape[1:] if samples else (1, 0, 0)
    padded = np.zeros((len(samples), max(counts, default=1), *shape), dtype=np.float32)
    for row, sample in zip(padded, samples, strict=True):
        row[: len(sample.images)] = sample.images
    is_grouped = any(sample.grouped for sample in samples)
    labels = np.stack([sample.label for sample in samples]) if samples else np.zeros(0, dtype=np.int64)
    return MedicalBatch(
        images=torch.from_numpy(padded if is_grouped else padded[:, 0]),
        counts=counts,
        labels=torch.from_numpy(labels),
        indices=torch.tensor([sample.position for sample in samples], dtype=torch.int64),
        names=[sample.name for sample in samples],
        groups=[sample.group for sample in samples],
        kind=kind,
        skipped=skipped,
    )
