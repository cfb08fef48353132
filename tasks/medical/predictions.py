"""Output of `predict`: a table of calibrated probabilities and decisions, and Grad-CAM maps."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from vertebra.tasks.loading.files.picture_file import write_picture
from vertebra.tasks.medical.geometry import to_own_space
from vertebra.tasks.medical.nifti import write_nifti
from vertebra.tasks.medical.slices import explained
from vertebra.tasks.training.prediction_writer import PredictionWriter

if TYPE_CHECKING:
    from vertebra.tasks.medical.dataset import MedicalDataset


class Prediction(NamedTuple):
    """Prediction for one study.

    Attributes:
        place: index of the study among those to predict.
        name: what it is called, such as its path.
        probs: (K,) float64 in 0..1, calibrated.
        labels: the class that is decided for, or the findings that are present, at the thresholds of the checkpoint.
        cam: float32 in 0..1 on the grid that the network saw, how much each voxel speaks for the class that is
            explained; (I, ...) of a study of several images; None without `explain`.
    """

    place: int
    name: str
    probs: np.ndarray
    labels: tuple[int, ...]
    cam: np.ndarray | None


class StudyWriter(PredictionWriter[Prediction]):
    """Writes `predictions.csv`, and maps below `explanations/`.

    The CSV has the columns study, decision (at the thresholds of the checkpoint), prob_CLASS for every class, and model
    (the first 16 digits of `model_hash`). A map is NIfTI in the space of its file where that has one, and beside it
    a picture of the slice with the highest voxel.

    Args:
        class_names: the K classes.
        fingerprint: returns `model_hash` of the model that has predicted.
    """

    def __init__(self, class_names: Sequence[str], fingerprint: Callable[[], str]) -> None:
        super().__init__()
        self.class_names = class_names
        self.fingerprint = fingerprint

    def keep(self, outputs: list[Prediction], folder: Path, trainer: Trainer) -> list[Prediction]:
        # maps are written where they are made: those of a thousand volumes fit into no memory
        for one in outputs:
            if one.cam is not None:
                dataset = trainer.predict_dataloaders.dataset  # type: ignore[union-attr]
                _write_map(folder / "explanations", one.place, one.cam, dataset)
        return [one._replace(cam=None) for one in outputs]

    def finish(self, predictions: Sequence[Prediction], folder: Path) -> None:
        file = folder / "predictions.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        model = self.fingerprint()[:16]
        with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
            writer = csv.writer(stream)
            writer.writerow(["study", "decision", *(f"prob_{name}" for name in self.class_names), "model"])
            for one in sorted(predictions, key=lambda one: one.place):
                decision = "; ".join(self.class_names[label] for label in one.labels)
                writer.writerow([one.name, decision, *(f"{prob:.6f}" for prob in one.probs), model])
        rank_zero_info(f"{len(predictions)} predictions: {file}")


def model_hash(state: Mapping[str, Tensor], temperature: float, thresholds: Sequence[float]) -> str:
    """Return SHA-256 over all that a decision depends on: names, types and bytes of the weights, and the two others."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + raw)
    digest.update(repr((temperature, list(thresholds))).encode())
    return digest.hexdigest()


def _write_map(folder: Path, place: int, cam: np.ndarray, dataset: MedicalDataset) -> None:
    studies = dataset.studies
    scans = studies.images.read(place)
    cams = cam if studies.images.grouped else cam[None]
    folder.mkdir(parents=True, exist_ok=True)
    for number, (scan, own) in enumerate(zip(scans, cams, strict=False)):  # what pads a study has no scan
        part = f"_{number}" if len(scans) > 1 else ""
        stem = Path(str(studies.names[place])).name.removesuffix(".gz").rsplit(".", 1)[0]
        file = folder / f"{place:05d}_{stem}{part}"
        if scan.grid is not None:
            write_nifti(file.with_name(f"{file.name}.nii.gz"), to_own_space(own, scan, dataset.resample), scan)
        write_picture(file.with_name(f"{file.name}.png"), explained(dataset.seen(scan), own))
