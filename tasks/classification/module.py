"""LightningModule of image classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vertebra.tasks.classification.classifier import ImageClassifier
from vertebra.tasks.classification.dataset import ClassificationBatch
from vertebra.tasks.classification.outputs import ClassificationOutput
from vertebra.tasks.classification.predictions import Prediction, TableWriter
from vertebra.tasks.classification.report import Example, classification_galleries, gallery_rows, resize_for_gallery
from vertebra.tasks.reporting.class_report import class_sections, class_table
from vertebra.tasks.reporting.evaluated_table import EvaluatedTable
from vertebra.tasks.reporting.report import Picture, Section
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.scoring.class_metrics import ClassificationMetric, topk
from vertebra.tasks.training.distillation.logits import LogitDistillation
from vertebra.tasks.training.losses import CrossEntropy
from vertebra.tasks.training.mixing import Mixing
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.normalize import normalize_for
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.training.training_pictures import as_seen, label_text
from vertebra.tasks.training.views import Views

_TABLE_CLASSES = 256  # of a table of scores; with ImageNet's thousand it would be a CSV of a gigabyte


class ClassificationModule(TaskModule):
    """Trains an image classifier, and measures accuracy and calibration.

    Logs `train/loss`, `val/loss`, `val/top1`, `val/top5` (where there are more than five classes), `val/ece` (the
    expected calibration error), all scores in 0..1, and the same under `test/`.

    Args:
        network: the classifier.
        class_names: the K classes; label k is `class_names[k]`.
        loss: loss of logits (N, K) and labels (N,), with mixing (N, K); cross-entropy by default.
        mixing: mixup and CutMix of training batches; None for neither.
        views: test-time flips and crops, in validation, test and prediction; None for the image alone.
        embeddings: whether `vertebra predict` also writes the features before the last layer.
        mean: mean of each channel, on a scale where the brightest value is 1; by default what the published weights of
            the backbone expect, see `normalize_for`.
        std: standard deviation of each channel, on the same scale.
        distillation: loss beside that of the labels if the network learns from a `teacher`, see there.
        training: arguments of `TaskModule`: optimizer, schedule, learning rates per layer, teacher.
    """

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/top1", "max")
    labeled: ClassVar[str] = "images"
    network: ImageClassifier
    metric: ClassificationMetric

    def __init__(
        self,
        network: ImageClassifier,
        class_names: Sequence[str],
        loss: nn.Module | None = None,
        mixing: Mixing | None = None,
        views: Views | None = None,
        embeddings: bool = False,
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
        self.embeddings = embeddings
        self.normalize = normalize_for(network, mean, std)
        self.metric = ClassificationMetric(self.class_names, keep_probs=len(self.class_names) <= _TABLE_CLASSES)

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor:
        self.warn_skipped(batch.skipped)
        images, target = self._images(batch), batch.labels
        if self.mixing is not None:
            images, target = self.mixing(images, target, len(self.class_names))
        self.inputs_of_step = images, target
        # the loss in float32: in bf16 a log-probability has two to three digits
        logits = self.network(images).float()
        losses = {"loss": self.loss(logits, target)}
        if self.teacher is not None:
            losses["loss_teacher"] = self.distillation(logits, self.teacher.logits(images))
        return self.log_losses(losses, len(images))

    def validation_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        self.warn_skipped(batch.skipped)
        if len(batch.images):
            self.metric.update(self._logits(batch), batch.labels, batch.indices, batch.names, batch.groups)

    def predict_step(self, batch: ClassificationBatch, batch_idx: int) -> list[Prediction]:
        self.warn_skipped(batch.skipped)
        if not len(batch.images):
            return []
        logits = self._logits(batch)
        scores, labels = (part.numpy() for part in topk(logits))
        probs: Sequence[np.ndarray | None] = [None] * len(batch.images)
        if self.metric.keep_probs:
            probs = list(logits.float().softmax(dim=1).cpu().numpy())
        features: Sequence[np.ndarray | None] = [None] * len(batch.images)
        if self.embeddings:
            features = list(self.network.embed(self._images(batch)).float().cpu().numpy())
        rows = zip(batch.indices.tolist(), batch.names, labels, scores, features, probs, strict=True)
        return [Prediction(*row) for row in rows]

    def prediction_writer(self) -> PredictionWriter:
        return TableWriter(self.class_names)

    def sample_outputs(self, predictions: Sequence[Prediction], dataset: Any) -> list[SampleOutput]:
        return [ClassificationOutput(prediction, self.class_names, dataset) for prediction in predictions]

    def collect_examples(self, loader: DataLoader) -> list[Example]:
        images: Any = loader.dataset
        examples = []
        for row in np.concatenate(gallery_rows(self.results)).tolist():
            try:
                pixels = images.read_for_display(int(self.results.images.indices[row]))
            except (OSError, ValueError):  # deleted since: a report on a hundred images must not fail on one
                pixels = None
            examples.append(Example(row, None if pixels is None else resize_for_gallery(pixels)))
        return examples

    def evaluated(self) -> EvaluatedTable | None:
        seen = self.results.images
        if not self.metric.keep_probs:
            return None
        return EvaluatedTable(tuple(self.class_names), seen.names, seen.groups, seen.labels, seen.probs)

    def report_sections(self) -> list[Section]:
        return class_sections(self.results)

    def galleries(self) -> list[Section]:
        return classification_galleries(self.results, self.examined)

    def training_pictures(self, batch: ClassificationBatch, count: int) -> list[Picture]:
        if self.inputs_of_step is None:
            return []
        images, targets = self.inputs_of_step
        pairs = zip(as_seen(images, self.normalize, count), targets[:count].cpu(), strict=True)
        return [Picture(picture, "", label_text(target, self.class_names)) for picture, target in pairs]

    def class_table(self) -> Table:
        return class_table(self.results)

    def _images(self, batch: ClassificationBatch) -> Tensor:
        return self.to_memory_format(self.normalize(batch.images))

    def _logits(self, batch: ClassificationBatch) -> Tensor:
        images = self._images(batch)
        logits = self.network(images) if self.views is None else self.views(self.network, images)
        return self.finite(logits, batch.names)
