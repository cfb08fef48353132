"""Training, measuring and using an image classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from tasks.classification.classifier import ImageClassifier
from tasks.classification.data import ClassificationData
from tasks.classification.dataset import ClassificationBatch
from tasks.classification.metrics import NUM_TOP, ClassificationMetric, ClassificationResults, likeliest
from tasks.classification.mixing import Mixing
from tasks.classification.predictions import Prediction, PredictionWriter
from tasks.classification.report import classification_sections
from tasks.classification.views import Views
from tasks.module import TaskModule
from tasks.normalise import Normalise
from tasks.report import Section
from tasks.schedules import Schedule


class ClassificationModule(TaskModule):
    """Trains a classifier, and measures how often and how surely it is right.

    Logs `train/loss`, `val/loss`, `val/top1`, `val/top5` (where there are more than five classes), `val/ece` (the
    expected calibration error), all scores in 0..1, and the same under `test/`.

    Args:
        network: the classifier.
        class_names: the K classes; label k is `class_names[k]`.
        optimizer: parameter groups to an optimizer; weight decay does not touch norms and biases.
        schedule: factor on the learning rate over the training.
        channels_last: keep weights and images with the channels innermost, which convolutions are fastest on.
        layer_decay: the learning rate of each layer is so many times that of the layer behind it; 1 for one rate.
        label_smoothing: part of each label that is shared out among all classes (Rethinking the Inception
            Architecture, Szegedy et al. 2015, https://arxiv.org/abs/1512.00567).
        mixing: of training batches; None trains on the images as they are.
        views: of each image in all that is measured or predicted, also while training; None for the image alone.
        embeddings: `vertebra predict` also writes the features that the head sees.
    """

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/top1", "max")
    network: ImageClassifier

    def __init__(
        self,
        network: ImageClassifier,
        class_names: Sequence[str],
        optimizer: OptimizerCallable = lambda groups: torch.optim.SGD(
            groups, lr=0.02, momentum=0.9, weight_decay=1e-4, fused=True
        ),
        schedule: Schedule | None = None,
        channels_last: bool = True,
        layer_decay: float = 1.0,
        label_smoothing: float = 0.0,
        mixing: Mixing | None = None,
        views: Views | None = None,
        embeddings: bool = False,
    ) -> None:
        super().__init__(network, class_names, optimizer, schedule, channels_last, layer_decay)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; it is a part of the label, from 0 to below 1.")
        self.label_smoothing = label_smoothing
        self.mixing = mixing
        self.views = views
        self.embeddings = embeddings
        self.normalise = Normalise()
        self.metric = ClassificationMetric(self.class_names)
        self.results: ClassificationResults | None = None
        self.split = ""
        self.skipped: set[str] = set()

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor:
        self._note_skipped(batch)
        images, target = self._images(batch), batch.labels
        if self.mixing is not None:
            images, target = self.mixing(images, target, len(self.class_names))
        loss = F.cross_entropy(self.network(images).float(), target, label_smoothing=self.label_smoothing)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        self._note_skipped(batch)
        if len(batch.images):
            self.metric.update(self._logits(self._images(batch)), batch.labels, batch.indices)

    def test_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: ClassificationBatch, batch_idx: int) -> list[Prediction]:
        self._note_skipped(batch)
        if not len(batch.images):
            return []
        images = self._images(batch)
        scores, labels = (part.numpy() for part in likeliest(self._logits(images)))
        features: Sequence[np.ndarray | None] = [None] * len(images)
        if self.embeddings:
            features = list(self.network.embed(images).float().cpu().numpy())
        rows = zip(batch.indices.tolist(), batch.names, labels, scores, features, strict=True)
        return [Prediction(*row) for row in rows]

    def on_validation_epoch_end(self) -> None:
        self._score("val")

    def on_test_epoch_end(self) -> None:
        self._score("test")

    def configure_callbacks(self) -> list[Callback]:
        return [PredictionWriter(self.class_names)] if self.trainer.state.fn == TrainerFn.PREDICTING else []

    def report_sections(self, metrics_csv: Sequence[Path]) -> tuple[dict[str, float], list[Section]]:
        """Return the headline numbers and the sections of the report on the last evaluation."""
        if self.results is None:
            raise ValueError("nothing was measured yet; run validate or test before a report.")
        data = getattr(self.trainer, "datamodule", None)
        images = data.images(self.split) if isinstance(data, ClassificationData) else None
        return self.results.headline(), classification_sections(self.results, images, metrics_csv)

    def _images(self, batch: ClassificationBatch) -> Tensor:
        # nothing is padded here: every image fills its place
        sizes = torch.tensor([batch.images.shape[-2:]], device=batch.images.device)
        return self.normalise(batch.images, sizes).contiguous(memory_format=self.memory_format)

    def _logits(self, images: Tensor) -> Tensor:
        return self.network(images) if self.views is None else self.views(self.network, images)

    def _score(self, stage: str) -> None:
        self.results = self.metric.compute()
        self.split = stage
        self.metric.reset()
        scores = {"loss": self.results.loss, "top1": self.results.top1, "ece": self.results.reliability.error}
        if len(self.class_names) > NUM_TOP:
            scores["top5"] = self.results.top5
        # every process has the same results; the mean over them is what each of them says
        for name, score in scores.items():
            self.log(f"{stage}/{name}", score, prog_bar=name == "top1", sync_dist=True)

    def _note_skipped(self, batch: ClassificationBatch) -> None:
        for message in batch.skipped:
            if message not in self.skipped:
                self.skipped.add(message)
                rank_zero_warn(f"skipped: {message}")
