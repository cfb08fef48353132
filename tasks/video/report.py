"""The sections of a video classifier's report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vertebra.tasks.reporting.class_report import class_sections
from vertebra.tasks.reporting.report import Picture, Section, gallery, note, training_section
from vertebra.tasks.scoring.class_metrics import ClassificationResults

NUM_WORST = 8  # videos in the gallery
_FRAMES = 6  # of a strip
_HEIGHT, _BARS = 96, 34  # pixels of the frames, and of the bars below them
_TRUE, _PREDICTED = (0, 158, 115), (213, 94, 0)


class Example(NamedTuple):
    """A video that is shown.

    Attributes:
        file: its path.
        label: the truth, in 0..K-1.
        frames: (T, H, W, 3) uint8 RGB, as the network sees them, over the whole video.
        scores: (V, K) float64, probabilities of each clip, in the order of time.
    """

    file: str
    label: int
    frames: np.ndarray
    scores: np.ndarray


def video_sections(
    results: ClassificationResults, worst: Sequence[Example], metrics_csv: Sequence[Path]
) -> list[Section]:
    """Return the sections of a report.

    Args:
        results: what `ClassificationMetric.compute` returns.
        worst: videos for the gallery.
        metrics_csv: what Lightning's CSVLogger wrote while training, oldest first; empty for no curves.
    """
    training = training_section(metrics_csv)
    return [
        *class_sections(results, "videos"),
        *([training] if training else []),
        *([_gallery(results, worst)] if worst else []),
    ]


def _gallery(results: ClassificationResults, worst: Sequence[Example]) -> Section:
    text = (
        "The videos whose true class was given the lowest probability. Below the frames, clip by clip, the "
        "probability of the true class (green) and of the predicted class (orange)."
    )
    return Section("Worst videos", gallery([_strip(video, results.class_names) for video in worst]) + note(text))


def _strip(video: Example, class_names: Sequence[str]) -> Picture:
    mean = video.scores.mean(axis=0)
    predicted = int(mean.argmax())
    chosen = video.frames[np.linspace(0, len(video.frames) - 1, min(_FRAMES, len(video.frames))).round().astype(int)]
    width = max(1, round(_HEIGHT * chosen.shape[2] / chosen.shape[1]))
    frames = [cv2.resize(frame, (width, _HEIGHT), interpolation=cv2.INTER_AREA) for frame in chosen]
    strip = np.concatenate(frames, axis=1)
    bars = np.full((_BARS, strip.shape[1], 3), 255, np.uint8)
    edges = np.linspace(0, strip.shape[1], len(video.scores) + 1).round().astype(int)
    for clip, scores in enumerate(video.scores):
        middle = (edges[clip] + edges[clip + 1]) // 2
        for left, right, label, color in (
            (edges[clip] + 2, middle - 1, video.label, _TRUE),
            (middle + 1, edges[clip + 1] - 2, predicted, _PREDICTED),
        ):
            bars[_BARS - max(1, round(float(scores[label]) * (_BARS - 4))) :, left:right] = color
    found = f"{class_names[predicted]} {mean[predicted]:.3f}"
    truth = f"{class_names[video.label]} {mean[video.label]:.3f}"
    remark = f"{found}, correct" if predicted == video.label else f"predicted {found}, is {truth}"
    return Picture(np.concatenate([strip, bars], axis=0), os.path.basename(video.file), remark)
