"""Predicted classes of one image for programs and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vertebra.tasks.classification.predictions import Prediction
from vertebra.tasks.reporting.captions import captioned, enlarged
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.reporting.score_table import score_row


class ClassificationOutput(SampleOutput):
    """The most probable classes of one image, in descending order.

    Args:
        prediction: of the image.
        class_names: the K classes.
        dataset: reader of the image.

    Attributes:
        labels: (T,) int64 in 0..K-1, T = min(5, K).
        scores: (T,) float64, their probabilities.
        names: T class names.
        probs: (K,) float32, probabilities of all classes; None above 256 classes.
        features: (C,) float32, input of the head, with `embeddings`; else None.
    """

    def __init__(self, prediction: Prediction, class_names: Sequence[str], dataset: Any) -> None:
        self.name = prediction.file
        self.labels = torch.from_numpy(prediction.labels)
        self.scores = torch.from_numpy(prediction.scores)
        self.names = [class_names[label] for label in prediction.labels.tolist()]
        self.probs = None if prediction.probs is None else torch.from_numpy(prediction.probs)
        self.features = None if prediction.features is None else torch.from_numpy(prediction.features)
        self._index, self._dataset = prediction.image_index, dataset

    def summary(self) -> str:
        return f"{self.names[0]} {self.scores[0]:.3f}"

    def rows(self) -> list[dict[str, Any]]:
        return [score_row(self.name, self.names, self.scores.tolist())]

    def picture(self) -> np.ndarray:
        pixels = enlarged(self._dataset.read_for_display(self._index))
        lines = [f"{name}  {score:.3f}" for name, score in zip(self.names[:3], self.scores.tolist(), strict=False)]
        return captioned(pixels, lines)
