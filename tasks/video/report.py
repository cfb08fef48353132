"""Gallery of a video classifier's report: the worst videos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from vertebra.tasks.reporting.captions import labeled_tiles
from vertebra.tasks.reporting.report import Picture, Section, gallery, note
from vertebra.tasks.scoring.class_metrics import ClassificationResults

NUM_WORST = 8  # videos in the gallery
_FRAMES = 6  # per film strip
_HEIGHT, _BARS = 96, 34  # pixels, height of the frames and of the bar chart below them
_TRUE, _PREDICTED = (0, 158, 115), (213, 94, 0)  # bluish green and vermilion of Okabe and Ito, safe for color blindness


class Example(NamedTuple):
    """Video of the gallery.

    Attributes:
        file: path of the video.
        label: true class in 0..K-1.
        frames: (T, H, W, 3) uint8 RGB, preprocessed frames over the whole video.
        scores: (V, K) float64, probabilities of each clip in temporal order.
    """

    file: str
    label: int
    frames: np.ndarray
    scores: np.ndarray


def video_galleries(results: ClassificationResults, worst: Sequence[Example]) -> list[Section]:
    """Return the gallery of the worst videos.

    Args:
        results: results of `ClassificationMetric.compute`.
        worst: the videos, worst first; none for no gallery.
    """
    if not worst:
        return []
    text = (
        "Videos with the lowest predicted probability of the true class. Bars below the frames: probability of the "
        "true class (green) and of the predicted class (orange), per clip in temporal order."
    )
    strips = gallery([_strip(video, results.class_names) for video in worst])
    return [Section("Worst videos", strips, note(text))]


def _strip(video: Example, class_names: Sequence[str]) -> Picture:
    mean = video.scores.mean(axis=0)
    predicted = int(mean.argmax())
    indices = np.linspace(0, len(video.frames) - 1, min(_FRAMES, len(video.frames))).round().astype(int)
    width = max(1, round(_HEIGHT * video.frames.shape[2] / video.frames.shape[1]))
    frames = [cv2.resize(video.frames[i], (width, _HEIGHT), interpolation=cv2.INTER_AREA) for i in indices]
    strip = np.concatenate(frames, axis=1)
    bars = np.full((_BARS, strip.shape[1], 3), 255, np.uint8)
    edges = np.linspace(0, strip.shape[1], len(video.scores) + 1).round().astype(int)
    for clip, scores in enumerate(video.scores):
        middle = (edges[clip] + edges[clip + 1]) // 2
        for left, right, label, color in (
            (edges[clip] + 2, middle - 1, video.label, _TRUE),
            (middle + 1, edges[clip + 1] - 2, predicted, _PREDICTED),
        ):
            # a probability of 0 is a line of one pixel, to tell it from a missing clip
            bars[_BARS - max(1, round(float(scores[label]) * (_BARS - 4))) :, left:right] = color
    prediction = f"{class_names[predicted]} {mean[predicted]:.3f}"
    truth = f"{class_names[video.label]} {mean[video.label]:.3f}"
    is_correct = predicted == video.label
    caption = f"{prediction}, correct" if is_correct else f"predicted: {prediction}, true: {truth}"
    tiles = labeled_tiles({"frames": strip, "probability in each clip": bars}, columns=1)
    return Picture(tiles, os.path.basename(video.file), caption)
