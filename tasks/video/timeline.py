"""Sliding-window inference on long videos: dataset of clips, and writer of predictions over time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from matplotlib.figure import Figure

from vertebra.tasks.loading.dataset import TaskDataset
from vertebra.tasks.loading.labeled_files import UNLABELED, LabeledFiles
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.reporting.score_table import write_scores
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.video.dataset import Sample
from vertebra.tasks.video.decoding import Decoder, open_video
from vertebra.tasks.video.given_video import GivenVideo
from vertebra.tasks.video.sampling import Sampling
from vertebra.tasks.video.transforms import Resize
from vertebra.tasks.video.video import UnreadableVideo, Video

_MAX_LINES = 6  # classes in a plot; more lines are not distinguishable
NUM_TOP = 5  # classes per row of the CSV


class TimelineDataset(TaskDataset[Sample]):
    """Dataset of sliding-window clips; each sample is one clip.

    Args:
        videos: the video files.
        sampling: temporal sampling of frames.
        resize: scaling to the network's input size.
        decoder: see `open_video`.
        given: clips in memory by name, see `GivenVideo`; every other name is the path of a video.
    """

    def __init__(
        self,
        videos: LabeledFiles,
        sampling: Sampling,
        resize: Resize,
        decoder: Decoder,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.given = given or {}
        self.decoder = decoder
        self.clips: list[tuple[int, np.ndarray]] = []
        for index, name in enumerate(videos.names.tolist()):
            try:
                with self.open(name) as video:
                    clips = sampling.sliding(len(video.timestamps))
            except UnreadableVideo:
                clips = np.zeros((1, sampling.frames), dtype=np.int64)  # `read` will raise and report the file
            self.clips += [(index, clip) for clip in clips]
        super().__init__(len(self.clips), "skip")  # a broken file must not prevent predictions on the others
        self.videos = videos
        self.resize = resize

    def open(self, name: str) -> Video:
        """Open a video by its path, or by its name if it is in memory; errors as for `open_video`."""
        return GivenVideo(self.given[name], name) if name in self.given else open_video(name, self.decoder)

    def read(self, index: int, draw: SampleRequest | None) -> Sample:
        video_index, indices = self.clips[index]
        name = str(self.videos.names[video_index])
        with self.open(name) as video:
            views = self.resize(video.read(indices))
            times = video.timestamps[indices][None].repeat(len(views), axis=0)
        return Sample(views, times, UNLABELED, video_index, name, name)


class Prediction(NamedTuple):
    """Predictions for some clips of a video.

    Attributes:
        video_index: index of the video in the prediction set.
        file: path of the video.
        spans: (V, 2) float64, start and end time of each clip in seconds.
        scores: (V, K) float64, probabilities.
    """

    video_index: int
    file: str
    spans: np.ndarray
    scores: np.ndarray


class TimelineWriter(PredictionWriter[Prediction]):
    """Writer of `predictions.csv` and, for videos with several clips, of `timelines/NAME.json` and `.png`.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = list(class_names)

    def finish(self, predictions: Sequence[Prediction], folder: Path) -> None:
        rows = []
        for video in merge_videos(predictions):
            mean = video.scores.mean(axis=0)
            labels = np.argsort(-mean, kind="stable")[:NUM_TOP]  # stable: ties come in class order
            rows.append((video.file, labels, mean[labels]))
            if len(video.spans) > 1:
                self._write(folder / "timelines", video)
        write_scores(folder / "predictions.csv", self.class_names, rows)
        rank_zero_info(f"{len(rows)} predictions: {folder / 'predictions.csv'}, timelines: {folder / 'timelines'}")

    def _write(self, folder: Path, video: Prediction) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{video.video_index:05d}_{Path(video.file).stem}.json"
        clips = [
            {"start": round(start, 3), "end": round(end, 3), "scores": [round(score, 6) for score in scores]}
            for (start, end), scores in zip(video.spans.tolist(), video.scores.tolist(), strict=True)
        ]
        content = {"file": video.file, "class_names": self.class_names, "clips": clips}
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")
        plot_timeline(video, self.class_names).savefig(file.with_suffix(".png"), dpi=100)


def merge_videos(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return one prediction per video: batches cut across videos, and several processes share them."""
    parts: dict[int, list[Prediction]] = {}
    for prediction in predictions:
        parts.setdefault(prediction.video_index, []).append(prediction)
    return [_merge_clips(parts[index]) for index in sorted(parts)]


def _merge_clips(parts: Sequence[Prediction]) -> Prediction:
    """Merge predictions of one video in temporal order; views of the same clip are averaged."""
    spans = np.concatenate([part.spans for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    unique_spans, inverse = np.unique(spans, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)  # NumPy 2.0 returns another shape than the versions before and after
    sums = np.zeros((len(unique_spans), scores.shape[1]))
    np.add.at(sums, inverse, scores)
    return parts[0]._replace(spans=unique_spans, scores=sums / np.bincount(inverse)[:, None])


def plot_timeline(video: Prediction, class_names: Sequence[str]) -> Figure:
    """Plot the probabilities of the classes with the highest maximum over time."""
    # class names may contain dollar signs, which matplotlib would parse as formulas
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 10}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots()
        shown = np.argsort(-video.scores.max(axis=0), kind="stable")[:_MAX_LINES]
        centers = video.spans.mean(axis=1)
        for label in shown.tolist():
            axes.plot(centers, video.scores[:, label], marker=".", label=class_names[label])
        axes.set(ylim=(-0.02, 1.02), xlabel="time (s)", ylabel="probability", title=Path(video.file).name)
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        return figure
