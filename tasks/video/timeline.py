"""Clips that slide over long videos, and what is said about them as the time passes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
from vertebra.tasks.video.sampling import Sampling
from vertebra.tasks.video.transforms import Resize
from vertebra.tasks.video.video import UnreadableVideo

_MOST_LINES = 6  # classes of a plot
_NUM_TOP = 5


class TimelineDataset(TaskDataset[Sample]):
    """Clips that slide over videos; a sample is one clip.

    Args:
        videos: the files.
        sampling: which frames make a clip.
        resize: to the size that the network sees.
        decoder: see `open_video`.
    """

    def __init__(self, videos: LabeledFiles, sampling: Sampling, resize: Resize, decoder: Decoder) -> None:
        self.clips: list[tuple[int, np.ndarray]] = []
        for index, name in enumerate(videos.names.tolist()):
            try:
                with open_video(name, decoder) as video:
                    clips = sampling.sliding(len(video.timestamps))
            except UnreadableVideo:
                clips = np.zeros((1, sampling.frames), dtype=np.int64)  # to be told of when it is read
            self.clips += [(index, clip) for clip in clips]
        super().__init__(len(self.clips), "skip")  # one broken file among many is no reason to refuse the others
        self.videos = videos
        self.resize = resize
        self.decoder = decoder

    def read(self, index: int, draw: SampleRequest | None) -> Sample:
        place, indices = self.clips[index]
        name = str(self.videos.names[place])
        with open_video(name, self.decoder) as video:
            views = self.resize(video.read(indices))
            times = video.timestamps[indices][None].repeat(len(views), axis=0)
        return Sample(views, times, UNLABELED, place, name, name)


class Prediction(NamedTuple):
    """What a classifier says about some clips of one video.

    Attributes:
        place: number of the video among those that were asked about.
        file: its path.
        spans: (V, 2) float64, first and last time of each clip, in seconds.
        scores: (V, K) float64, probabilities.
    """

    place: int
    file: str
    spans: np.ndarray
    scores: np.ndarray


class TimelineWriter(PredictionWriter[Prediction]):
    """Writes `predictions.csv` and, of each video that has more than one clip, `timelines/NAME.json` and `.png`.

    Args:
        class_names: the K classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = list(class_names)

    def finish(self, predictions: Sequence[Prediction], folder: Path) -> None:
        places = sorted({one.place for one in predictions})
        videos = [_joined([one for one in predictions if one.place == place]) for place in places]
        rows = []
        for video in videos:
            mean = video.scores.mean(axis=0)
            labels = np.argsort(-mean, kind="stable")[:_NUM_TOP]
            rows.append((video.file, labels, mean[labels]))
            if len(video.spans) > 1:
                self._write(folder / "timelines", video)
        write_scores(folder / "predictions.csv", self.class_names, rows)
        rank_zero_info(f"{len(rows)} predictions: {folder / 'predictions.csv'}, timelines: {folder / 'timelines'}")

    def _write(self, folder: Path, video: Prediction) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{video.place:05d}_{Path(video.file).stem}.json"
        clips = [
            {"start": round(start, 3), "end": round(end, 3), "scores": [round(score, 6) for score in scores]}
            for (start, end), scores in zip(video.spans.tolist(), video.scores.tolist(), strict=True)
        ]
        content = {"file": video.file, "class_names": self.class_names, "clips": clips}
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")
        _plot(video, self.class_names).savefig(file.with_suffix(".png"), dpi=100)


def _joined(parts: Sequence[Prediction]) -> Prediction:
    """Return the clips of one video in the order of time; the views of one clip are averaged."""
    spans = np.concatenate([part.spans for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    distinct, place = np.unique(spans, axis=0, return_inverse=True)
    place = place.reshape(-1)
    sums = np.zeros((len(distinct), scores.shape[1]))
    np.add.at(sums, place, scores)
    return parts[0]._replace(spans=distinct, scores=sums / np.bincount(place)[:, None])


def _plot(video: Prediction, class_names: Sequence[str]) -> Figure:
    """Draw the probabilities of the likeliest classes over the time."""
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 10}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots()
        shown = np.argsort(-video.scores.max(axis=0), kind="stable")[:_MOST_LINES]
        middles = video.spans.mean(axis=1)
        for label in shown.tolist():
            axes.plot(middles, video.scores[:, label], marker=".", label=class_names[label])
        axes.set(ylim=(-0.02, 1.02), xlabel="seconds", ylabel="probability", title=Path(video.file).name)
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        return figure
