"""Predicted classes of one video over time, for programs and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vertebra.tasks.reporting.captions import captioned, enlarged
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.reporting.score_table import score_row
from vertebra.tasks.video.dataset import VideoDataset
from vertebra.tasks.video.timeline import NUM_TOP, Prediction, TimelineDataset, plot_timeline


class VideoOutput(SampleOutput):
    """Probabilities of the classes in one video.

    Args:
        prediction: of all clips of the video.
        class_names: the K classes.
        dataset: reader of the video.

    Attributes:
        probs: (K,) float64, mean over the clips.
        labels: (T,) int64 in 0..K-1, the most probable classes in descending order, T = min(5, K).
        scores: (T,) float64, their probabilities.
        names: T class names.
        spans: (V, 2) float64, start and end of each clip in seconds.
        clip_probs: (V, K) float64, probabilities of each clip.
    """

    def __init__(
        self, prediction: Prediction, class_names: Sequence[str], dataset: TimelineDataset | VideoDataset
    ) -> None:
        self.name = prediction.file
        self.spans, self.clip_probs = torch.from_numpy(prediction.spans), torch.from_numpy(prediction.scores)
        mean = prediction.scores.mean(axis=0)
        order = np.argsort(-mean, kind="stable")[:NUM_TOP]  # stable: ties come in order of the classes
        self.probs, self.labels, self.scores = (torch.from_numpy(x) for x in (mean, order, mean[order]))
        self.names = [class_names[label] for label in order.tolist()]
        self._prediction, self._class_names, self._dataset = prediction, class_names, dataset

    def summary(self) -> str:
        clips = f"{len(self.spans)} clip{'s' if len(self.spans) > 1 else ''}"
        return f"{self.names[0]} {self.scores[0]:.3f} in {clips}"

    def rows(self) -> list[dict[str, Any]]:
        return [score_row(self.name, self.names, self.scores.tolist())]

    def picture(self) -> np.ndarray:
        """Draw the probabilities over time; of a video with one clip its middle frame."""
        if len(self.spans) > 1:
            return _rendered(plot_timeline(self._prediction, self._class_names))
        with self._dataset.open(self.name) as video:
            frame = video.read(np.array([len(video.timestamps) // 2]))[0]
        lines = [f"{name}  {score:.3f}" for name, score in zip(self.names[:3], self.scores.tolist(), strict=False)]
        return captioned(enlarged(frame), lines)


def _rendered(figure: Any) -> np.ndarray:
    """Return a Matplotlib figure as pixels (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
