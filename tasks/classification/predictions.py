"""Prediction writer of classification: CSV of top-5 classes, and optional embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.reporting.score_table import write_scores
from vertebra.tasks.training.prediction_writer import PredictionWriter


class Prediction(NamedTuple):
    """Prediction for an image.

    Attributes:
        image_index: index of the image in the prediction set.
        file: path of the image.
        labels: (T,) int64, top classes by descending probability.
        scores: (T,) float64, probabilities of the top classes.
        features: (C,) float32, input of the head, or None if not requested.
        probs: (K,) float32, probabilities of all classes, or None if there are many.
    """

    image_index: int
    file: str
    labels: np.ndarray
    scores: np.ndarray
    features: np.ndarray | None
    probs: np.ndarray | None


class TableWriter(PredictionWriter[Prediction]):
    """Writer of `predictions.csv` and, if features were requested, `embeddings.npz`.

    The CSV has the columns file, label, score, label_2, score_2, ... up to the top 5. The `.npz` has `files` (N,) and
    `features` (N, C) float32.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = class_names

    def finish(self, predictions: Sequence[Prediction], folder: Path) -> None:
        # several processes predict interleaved parts of the data set
        predictions = sorted(predictions, key=lambda prediction: prediction.image_index)
        file = folder / "predictions.csv"
        write_scores(file, self.class_names, ((x.file, x.labels, x.scores) for x in predictions))
        summary = f"{len(predictions)} predictions: {file}"
        features = [x.features for x in predictions if x.features is not None]
        if features:
            names = np.array([x.file for x in predictions])
            np.savez(folder / "embeddings.npz", files=names, features=np.stack(features))
            summary += f", features: {folder / 'embeddings.npz'}"
        rank_zero_info(summary)
