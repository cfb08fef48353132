"""Training, measuring and using a detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from tasks.detection.batch import ImageBatch
from tasks.detection.data import DetectionData
from tasks.detection.dataset import DetectionBatch
from tasks.detection.evaluated_image import EvaluatedImage
from tasks.detection.faster_rcnn import FasterRCNN
from tasks.detection.metrics import CocoMetric, DetectionResults
from tasks.detection.predictions import PredictionWriter
from tasks.detection.report import detection_sections
from tasks.module import TaskModule
from tasks.normalise import Normalise
from tasks.report import Section
from tasks.schedules import Schedule


class DetectionModule(TaskModule):
    """Trains a detector, and measures it as COCO does, in the pixels of the image files.

    Logs `train/loss` and its parts, `val/map`, `val/map50` (0..1), and the same under `test/`.

    Args:
        network: the detector.
        class_names: the K classes; label k is `class_names[k - 1]`.
        optimizer: parameter groups to an optimizer; weight decay does not touch norms and biases.
        schedule: factor on the learning rate over the training.
        channels_last: keep weights and images with the channels innermost, which convolutions are fastest on.
    """

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/map", "max")
    network: FasterRCNN

    def __init__(
        self,
        network: FasterRCNN,
        class_names: Sequence[str],
        optimizer: OptimizerCallable = lambda groups: torch.optim.SGD(
            groups, lr=0.02, momentum=0.9, weight_decay=1e-4, fused=True
        ),
        schedule: Schedule | None = None,
        channels_last: bool = True,
    ) -> None:
        super().__init__(network, class_names, optimizer, schedule, channels_last)
        self.normalise = Normalise()
        self.metric = CocoMetric(self.class_names)
        self.results: DetectionResults | None = None
        self.skipped: set[str] = set()
        self.category_ids = list(range(1, len(self.class_names) + 1))

    def on_fit_start(self) -> None:
        if isinstance(data := getattr(self.trainer, "datamodule", None), DetectionData):
            self.category_ids[:] = data.annotations("train").category_ids.tolist()

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        self._note_skipped(batch)
        return self.log_losses(self.network(self._images(batch), batch.targets), len(batch.images))

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        self._note_skipped(batch)
        self.metric.update(self._evaluate(batch))

    def test_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: DetectionBatch, batch_idx: int) -> list[EvaluatedImage]:
        self._note_skipped(batch)
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self._score("val")

    def on_test_epoch_end(self) -> None:
        self._score("test")

    def configure_callbacks(self) -> list[Callback]:
        if self.trainer.state.fn != TrainerFn.PREDICTING:
            return []
        return [PredictionWriter(self.class_names, self.category_ids)]

    def report_sections(self, metrics_csv: Sequence[Path]) -> tuple[dict[str, float], list[Section]]:
        """Return the headline numbers and the sections of the report on the last evaluation."""
        if self.results is None:
            raise ValueError("nothing was measured yet; run validate or test before a report.")
        return self.results.headline(), detection_sections(self.results, metrics_csv)

    def _images(self, batch: DetectionBatch) -> ImageBatch:
        images = self.normalise(batch.images, batch.sizes)
        return ImageBatch(images.contiguous(memory_format=self.memory_format), batch.sizes)

    def _evaluate(self, batch: DetectionBatch) -> list[EvaluatedImage]:
        """Detect, and bring the boxes back to the pixels of the image files."""
        if not batch.sources:
            return []
        evaluated = []
        for source, found in zip(batch.sources, self.network(self._images(batch)), strict=True):
            factors = np.array([source.factors[1], source.factors[0]] * 2)
            evaluated.append(
                EvaluatedImage(
                    image_id=source.image_id,
                    file=source.file,
                    size=source.size,
                    boxes=source.boxes,
                    labels=source.labels,
                    crowd=source.crowd,
                    areas=source.areas,
                    detected_boxes=found["boxes"].double().cpu().numpy() / factors,
                    detected_labels=found["labels"].cpu().numpy(),
                    scores=found["scores"].double().cpu().numpy(),
                )
            )
        return evaluated

    def _score(self, stage: str) -> None:
        self.results = self.metric.compute()
        self.metric.reset()
        # every process has the same results; the mean over them is what each of them says
        self.log(f"{stage}/map", self.results.ap, prog_bar=True, sync_dist=True)
        self.log(f"{stage}/map50", self.results.ap50, prog_bar=True, sync_dist=True)

    def _note_skipped(self, batch: DetectionBatch) -> None:
        for message in batch.skipped:
            if message not in self.skipped:
                self.skipped.add(message)
                rank_zero_warn(f"skipped: {message}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["category_ids"] = self.category_ids

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.category_ids[:] = checkpoint.get("category_ids", self.category_ids)
