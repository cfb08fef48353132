"""Probabilities and decision for one study, for programs and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vertebra.tasks.medical.dataset import MedicalDataset
from vertebra.tasks.medical.predictions import Prediction
from vertebra.tasks.medical.slices import middle_slice, overlay
from vertebra.tasks.reporting.captions import captioned, enlarged
from vertebra.tasks.reporting.sample_output import SampleOutput

_MAX_LINES = 6  # findings in a caption


class MedicalOutput(SampleOutput):
    """Calibrated probabilities of one study, and the decision at the thresholds of the model.

    Args:
        prediction: of the study.
        class_names: the K classes, grades or findings.
        dataset: reader of the study.

    Attributes:
        probs: (K,) float64 in 0..1, calibrated.
        labels: the predicted class, or the findings predicted present, in 0..K-1.
        names: class names of `labels`.
        cam: Grad-CAM map, float32 in 0..1 on the input grid of the network; None without `explain`.
    """

    def __init__(self, prediction: Prediction, class_names: Sequence[str], dataset: MedicalDataset) -> None:
        self.name = prediction.name
        self.probs = torch.from_numpy(prediction.probs)
        self.labels = prediction.labels
        self.names = [class_names[label] for label in prediction.labels]
        self.cam = None if prediction.cam is None else torch.from_numpy(prediction.cam)
        self._prediction, self._class_names, self._dataset = prediction, class_names, dataset

    def summary(self) -> str:
        decision = "; ".join(self.names) or "no finding"
        return f"{decision} ({self._listed(3)})"

    def rows(self) -> list[dict[str, Any]]:
        probs = {f"prob_{name}": prob for name, prob in zip(self._class_names, self.probs.tolist(), strict=True)}
        return [{"study": self.name, "decision": "; ".join(self.names), **probs}]

    def picture(self) -> np.ndarray:
        """Draw the middle slice, or with a Grad-CAM map the slice of its maximum beside the map."""
        scan = self._dataset.studies.images.read(self._prediction.study_index)[0]
        if self._prediction.cam is None:
            pixels = enlarged(middle_slice(self._dataset.seen(scan)))
        else:
            cam = self._prediction.cam
            pixels = overlay(self._dataset.seen(scan), cam[0] if self._dataset.studies.images.grouped else cam)
        return captioned(pixels, ["; ".join(self.names) or "no finding", self._listed(_MAX_LINES)])

    def _listed(self, count: int) -> str:
        order = np.argsort(-self.probs.numpy(), kind="stable")[:count].tolist()
        return ", ".join(f"{self._class_names[label]} {self.probs[label]:.3f}" for label in order)
