"""Training, measuring and using a detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.detection.annotations.instances import Detections
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.dataset import DetectionBatch, Source
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tasks.detection.evaluation.metrics import CocoMetric
from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.outputs import DetectionOutput
from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tasks.detection.parts.masks import paste_crops
from vertebra.tasks.detection.predictions import DetectionWriter, Prediction, write_coco_results
from vertebra.tasks.detection.report import detection_sections
from vertebra.tasks.detection.views import Views
from vertebra.tasks.reporting.report import Section
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.normalize import normalize_for
from vertebra.tasks.training.prediction_writer import PredictionWriter


class DetectionModule(TaskModule):
    """Trains a detector, and measures it as COCO does, in the pixels of the image files.

    Logs `train/loss` and its parts, `val/map`, `val/map50` (0..1), of masks also `val/mask_map`, `val/mask_map50`, and
    the same under `test/`.

    Args:
        network: the detector.
        class_names: the K classes; label k is `class_names[k - 1]`.
        mean: of each channel, where the brightest value is 1; ImageNet's if not given, see `normalize_for`.
        std: of each channel, as `mean`.
        views: test-time scales and flips, in validation, test and prediction; None for the image alone.
        training: optimizer, schedule and the like, see `TaskModule`.

    Attributes:
        category_ids: (K,) int64, the training data's own id of each class: of the batches trained on, or of the
            checkpoint; 1..K before either.
    """

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/map", "max")
    network: Detector
    metric: CocoMetric

    def __init__(
        self,
        network: Detector,
        class_names: Sequence[str],
        mean: list[float] | None = None,
        std: list[float] | None = None,
        views: Views | None = None,
        **training: Any,
    ) -> None:
        super().__init__(network, class_names, **training)
        self.normalize = normalize_for(network, mean, std)
        self.views = views
        self.metric = CocoMetric(self.class_names)
        self.category_ids: np.ndarray = np.arange(1, len(self.class_names) + 1)
        self._measured_ids = self.category_ids  # of the data set that `results` are of

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        self.warn_skipped(batch.skipped)
        if len(batch.category_ids):
            self.category_ids = batch.category_ids
        return self.log_losses(self.network(self._images(batch), batch.targets), len(batch.images))

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        self.warn_skipped(batch.skipped)
        if len(batch.category_ids):
            self._measured_ids = batch.category_ids
        self.metric.update(self._evaluate(batch))

    def predict_step(self, batch: DetectionBatch, batch_idx: int) -> list[Prediction]:
        self.warn_skipped(batch.skipped)
        ids = batch.category_ids if len(batch.category_ids) else self.category_ids
        return [Prediction(image, ids[image.detections.labels - 1]) for image in self._evaluate(batch)]

    def prediction_writer(self) -> PredictionWriter:
        return DetectionWriter(self.class_names)

    def sample_outputs(self, predictions: Sequence[Prediction], dataset: Any) -> list[SampleOutput]:
        return [DetectionOutput(prediction, self.class_names, dataset.images) for prediction in predictions]

    def report_sections(self, metrics_csv: Sequence[Path]) -> list[Section]:
        return detection_sections(self.results, metrics_csv)

    def write_measured(self, folder: Path) -> Path:
        file = folder / f"detections_{self.split}.json"
        write_coco_results(file, self.results.images, self._measured_ids)
        return file

    def sample_names(self, batch: DetectionBatch) -> list[str]:
        return [source.file for source in batch.sources]

    def _images(self, batch: DetectionBatch) -> ImageBatch:
        images = self.normalize(batch.images, batch.sizes)
        return ImageBatch(self.to_memory_format(images), batch.sizes)

    def _detect(self, images: ImageBatch) -> list[dict[str, Tensor]]:
        return self.network(images) if self.views is None else self.views(self.network, images)

    def _evaluate(self, batch: DetectionBatch) -> list[EvaluatedImage]:
        """Detect, and bring boxes and masks back to the pixels of the image files."""
        if not batch.sources:
            return []
        try:
            detections = self._detect(self._images(batch))
        except NonFiniteOutput as error:
            if self.sanity_checking:  # as in `finite`
                return []
            raise NonFiniteOutput(error.rows, self.sample_names(batch)) from None
        return [_in_file(source, found) for source, found in zip(batch.sources, detections, strict=True)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["category_ids"] = self.category_ids.tolist()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.category_ids = np.array(checkpoint.get("category_ids", self.category_ids), dtype=np.int64)


def _in_file(source: Source, found: dict[str, Tensor]) -> EvaluatedImage:
    """Return what a network found in an image, in pixels of its file."""
    height_factor, width_factor = source.factors
    boxes = found["boxes"].double().cpu().numpy() / np.array([width_factor, height_factor] * 2)
    masks = None
    if "mask_probs" in found:
        crops = paste_crops(found["mask_probs"], torch.from_numpy(boxes), *source.size)
        masks = RunLengthMasks.encode(crops, *source.size)
    return EvaluatedImage(
        image_id=source.image_id,
        file=source.file,
        size=source.size,
        truth=source.truth,
        detections=Detections(
            boxes=boxes,
            labels=found["labels"].cpu().numpy(),
            scores=found["scores"].double().cpu().numpy(),
            masks=masks,
        ),
    )
