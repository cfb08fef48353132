"""Prediction writer: CSV of calibrated probabilities and decisions, and Grad-CAM maps."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from vertebra.tasks.loading.files.picture_file import write_picture
from vertebra.tasks.loading.files.whole_file import draft_of
from vertebra.tasks.medical.geometry import to_file_space
from vertebra.tasks.medical.nifti import write_nifti
from vertebra.tasks.medical.slices import overlay
from vertebra.tasks.training.prediction_writer import PredictionWriter

if TYPE_CHECKING:
    from vertebra.tasks.medical.dataset import MedicalDataset


class Prediction(NamedTuple):
    """Prediction for one study.

    Attributes:
        study_index: index of the study in the data set.
        name: name of the study, such as its path.
        probs: (K,) float64 in 0..1, calibrated.
        labels: the predicted class, or the findings predicted present, at the thresholds of the checkpoint.
        cam: Grad-CAM map, float32 in 0..1 on the input grid of the network; (I, ...) for a study of several images;
            None without explanations.
    """

    study_index: int
    name: str
    probs: np.ndarray
    labels: tuple[int, ...]
    cam: np.ndarray | None


class StudyWriter(PredictionWriter[Prediction]):
    """Writes `predictions.csv`, and Grad-CAM maps to `explanations/`.

    The CSV has the columns study, decision (at the thresholds of the checkpoint), prob_CLASS for every class, and model
    (the first 16 digits of `model_hash`). A map is a PNG of the slice with the maximum, and also NIfTI in the space of
    the file if that has a position.

    Args:
        class_names: the K classes.
        fingerprint: function that returns the `model_hash` of the current model.
    """

    def __init__(self, class_names: Sequence[str], fingerprint: Callable[[], str]) -> None:
        super().__init__()
        self.class_names = class_names
        self.fingerprint = fingerprint

    def keep(self, outputs: list[Prediction], folder: Path, dataset: MedicalDataset) -> list[Prediction]:
        # maps are written batch by batch: those of a thousand volumes do not fit into memory
        for one in outputs:
            if one.cam is not None:
                _write_map(folder / "explanations", one.study_index, one.cam, dataset)
        return [one._replace(cam=None) for one in outputs]

    def finish(self, predictions: Sequence[Prediction], folder: Path) -> None:
        file = folder / "predictions.csv"
        # computed here, after the last prediction, as it reads all weights
        model = self.fingerprint()[:16]
        with (
            draft_of(file) as draft,
            draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(["study", "decision", *(f"prob_{name}" for name in self.class_names), "model"])
            for one in sorted(predictions, key=lambda one: one.study_index):
                decision = "; ".join(self.class_names[label] for label in one.labels)
                writer.writerow([one.name, decision, *(f"{prob:.6f}" for prob in one.probs), model])
        rank_zero_info(f"{len(predictions)} predictions: {file}")


def model_hash(state: Mapping[str, Tensor], temperature: float, thresholds: Sequence[float]) -> str:
    """Return the SHA-256 of a model: names, types, shapes and bytes of its weights, temperature and thresholds.

    Two models with equal hashes make equal decisions on equal input.
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        # as bytes, since numpy has no bfloat16
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + raw)
    digest.update(repr((temperature, list(thresholds))).encode())
    return digest.hexdigest()


def _write_map(folder: Path, index: int, cam: np.ndarray, dataset: MedicalDataset) -> None:
    studies = dataset.studies
    scans = studies.images.read(index)  # again: batches hold resampled arrays without an affine
    cams = cam if studies.images.grouped else cam[None]
    folder.mkdir(parents=True, exist_ok=True)
    for number, (scan, scan_cam) in enumerate(zip(scans, cams, strict=False)):  # padding has no scan
        part = f"_{number}" if len(scans) > 1 else ""
        stem = Path(str(studies.names[index])).name.removesuffix(".gz").rsplit(".", 1)[0]
        file = folder / f"{index:05d}_{stem}{part}"  # the index makes equal file names of several folders unique
        if scan.grid is not None:
            write_nifti(file.with_name(f"{file.name}.nii.gz"), to_file_space(scan_cam, scan, dataset.resample), scan)
        write_picture(file.with_name(f"{file.name}.png"), overlay(dataset.seen(scan), scan_cam))
