"""Output of `predict`: a table of classes and scores, and optionally the embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.reporting.score_table import write_scores
from vertebra.tasks.training.prediction_writer import PredictionWriter


class Prediction(NamedTuple):
    """Prediction for one image.

    Attributes:
        place: index of the image among those to predict.
        file: its path.
        labels: (T,) int64, the most probable classes, in descending order.
        scores: (T,) float64, their probabilities.
        features: (C,) float32, input of the head, or None without `embeddings`.
    """

    place: int
    file: str
    labels: np.ndarray
    scores: np.ndarray
    features: np.ndarray | None


class TableWriter(PredictionWriter[Prediction]):
    """Writes `predictions.csv` and, where there are features, `embeddings.npz`.

    The CSV has the columns file, label, score, label_2, score_2, ... to the fifth most probable class. The `.npz` has
    `files` (N,) and `features` (N, C) float32.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = class_names

    def finish(self, predictions: Sequence[Prediction], folder: Path) -> None:
        predictions = sorted(predictions, key=lambda one: one.place)
        file = folder / "predictions.csv"
        write_scores(file, self.class_names, ((one.file, one.labels, one.scores) for one in predictions))
        summary = f"{len(predictions)} predictions: {file}"
        features = [one.features for one in predictions if one.features is not None]
        if features:
            names = np.array([one.file for one in predictions])
            np.savez(folder / "embeddings.npz", files=names, features=np.stack(features))
            summary += f", features: {folder / 'embeddings.npz'}"
        rank_zero_info(summary)
