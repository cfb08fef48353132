"""LightningModule of video classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vertebra.tasks.reporting.class_report import class_sections, class_table
from vertebra.tasks.reporting.evaluated_table import EvaluatedTable
from vertebra.tasks.reporting.report import Picture, Section
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.scoring.class_metrics import ClassificationMetric
from vertebra.tasks.training.distillation.logits import LogitDistillation
from vertebra.tasks.training.losses import CrossEntropy
from vertebra.tasks.training.mixing import Mixing
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.normalize import normalize_for
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.training.training_pictures import as_seen, label_text
from vertebra.tasks.training.views import Views, mean_logits
from vertebra.tasks.video.classifier import ClipClassifier
from vertebra.tasks.video.dataset import VideoBatch
from vertebra.tasks.video.outputs import VideoOutput
from vertebra.tasks.video.report import NUM_WORST, Example, video_galleries
from vertebra.tasks.video.timeline import Prediction, TimelineWriter, merge_videos

_FRAMES_OF_PICTURE = 4  # of a training clip


class VideoModule(TaskModule):
    """Trains a video classifier on clips, and measures it on whole videos.

    The probabilities of the views of a video are averaged, so that every video counts once. Logs `train/loss`,
    `val/loss`, `val/top1`, `val/top5` (where there are more than five classes), `val/ece`, and the same under `test/`.

    Args:
        network: the classifier.
        class_names: the K classes; label k is `class_names[k]`.
        loss: loss of logits (N, K) and labels (N,), with mixing (N, K); cross-entropy by default.
        mixing: mixup and CutMix of training batches; None for neither.
        views: test-time flips and crops of each clip, in validation, test and prediction, in addition to the clips and
            crops of `data.val_clips` and `data.resize.crops`; None for the clip alone.
        mean: mean of each channel, on a scale where the brightest value is 1; by default what the published weights of
            the backbone expect, see `normalize_for`.
        std: standard deviation of each channel, on the same scale.
        distillation: loss beside that of the labels if the network learns from a `teacher`, see there.
        training: arguments of `TaskModule`: optimizer, schedule, learning rates per layer, teacher.
    """

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/top1", "max")
    labeled: ClassVar[str] = "videos"
    things: ClassVar[str] = "videos"
    network: ClipClassifier
    metric: ClassificationMetric

    def __init__(
        self,
        network: ClipClassifier,
        class_names: Sequence[str],
        loss: nn.Module | None = None,
        mixing: Mixing | None = None,
        views: Views | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        distillation: LogitDistillation | None = None,
        **training: Any,
    ) -> None:
        super().__init__(network, class_names, **training)
        self.loss = loss or CrossEntropy()
        self.mixing = mixing
        self.distillation = distillation or LogitDistillation()
        self.views = views
        self.normalize = normalize_for(network, mean, std)
        self.metric = ClassificationMetric(self.class_names, keep_probs=True)

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        self.warn_skipped(batch.skipped)
        clips, target = self._clips(batch), batch.labels.repeat_interleave(batch.clips.shape[1])
        if self.mixing is not None:
            frames = clips.shape[2]
            mixed, target = self.mixing(clips.flatten(1, 2), target, len(self.class_names))  # all frames alike
            clips = self.to_memory_format(mixed.unflatten(1, (-1, frames)))
        self.inputs_of_step = clips, target
        logits = self.network(clips).float()
        losses = {"loss": self.loss(logits, target)}
        if self.teacher is not None:
            losses["loss_teacher"] = self.distillation(logits, self.teacher.logits(clips))
        return self.log_losses(losses, len(clips))

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        self.warn_skipped(batch.skipped)
        if len(batch.clips):
            logits = mean_logits(self._probs(batch), dim=1)
            self.metric.update(logits, batch.labels, batch.indices, batch.names, batch.groups)

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> list[Prediction]:
        self.warn_skipped(batch.skipped)
        if not len(batch.clips):
            return []
        scores = self._probs(batch).double().cpu().numpy()
        spans = torch.stack([batch.times[:, :, 0], batch.times[:, :, -1]], dim=2).cpu().numpy()
        return [
            Prediction(place, name, spans[row], scores[row])
            for row, (place, name) in enumerate(zip(batch.indices.tolist(), batch.names, strict=True))
        ]

    def prediction_writer(self) -> PredictionWriter:
        return TimelineWriter(self.class_names)

    def sample_outputs(self, predictions: Sequence[Prediction], dataset: Any) -> list[SampleOutput]:
        return [VideoOutput(video, self.class_names, dataset) for video in merge_videos(predictions)]

    def collect_examples(self, loader: DataLoader) -> list[Example]:
        examples: list[Example] = []
        videos = self.results.images
        for row in np.argsort(-videos.losses, kind="stable")[:NUM_WORST].tolist():
            batch = self.batch_of(loader, int(videos.indices[row]))
            with self.trainer.precision_plugin.forward_context():
                scores = self._probs(batch)[0].double().cpu().numpy()
            frames = batch.clips[0].permute(0, 2, 3, 4, 1).flatten(0, 1).cpu().numpy()
            order = np.argsort(batch.times[0].flatten().cpu().numpy(), kind="stable")
            examples.append(Example(batch.names[0], int(videos.labels[row]), frames[order], scores))
        return examples

    def report_sections(self) -> list[Section]:
        return class_sections(self.results, "videos")

    def galleries(self) -> list[Section]:
        return video_galleries(self.results, self.examined)

    def training_pictures(self, batch: VideoBatch, count: int) -> list[Picture]:
        if self.inputs_of_step is None:
            return []
        clips, targets = self.inputs_of_step
        pictures = []
        for clip, target in zip(clips[:count], targets[:count].cpu(), strict=True):
            shown = torch.linspace(0, clip.shape[1] - 1, min(_FRAMES_OF_PICTURE, clip.shape[1])).long().tolist()
            frames = as_seen(clip[:, shown].transpose(0, 1), self.normalize, len(shown))
            pictures.append(Picture(np.concatenate(frames, axis=1), "", label_text(target, self.class_names)))
        return pictures

    def class_table(self) -> Table:
        return class_table(self.results, "videos")

    def evaluated(self) -> EvaluatedTable:
        seen = self.results.images
        return EvaluatedTable(tuple(self.class_names), seen.names, seen.groups, seen.labels, seen.probs)

    def _clips(self, batch: VideoBatch) -> Tensor:
        """Return all views of all videos, (N * V, 3, T, H, W), normalized."""
        return self.to_memory_format(self.normalize.clips(batch.clips.flatten(0, 1)))

    def _probs(self, batch: VideoBatch) -> Tensor:
        """Return the probabilities of every view, (N, V, K) float32."""
        clips = self._clips(batch)
        logits = self.network(clips) if self.views is None else self.views(self.network, clips)
        return self.finite(logits.float().unflatten(0, (len(batch.clips), -1)), batch.names).softmax(dim=2)
