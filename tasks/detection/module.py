"""Training, measuring and using a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pydoc import locate
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from vertebra.tasks.detection.annotations.instances import Detections
from vertebra.tasks.detection.dataset import DetectionBatch
from vertebra.tasks.detection.distillation import PyramidDistillation
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tasks.detection.evaluation.intervals import match_arrays
from vertebra.tasks.detection.evaluation.metrics import CocoMetric
from vertebra.tasks.detection.file_detections import Found, merged_detections, whole_detections
from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.outputs import DetectionOutput
from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tasks.detection.predictions import DetectionWriter, Prediction, write_coco_results
from vertebra.tasks.detection.report import class_table, detection_galleries, detection_sections
from vertebra.tasks.detection.target_drawing import draw_targets
from vertebra.tasks.detection.tiles import TileBatch
from vertebra.tasks.detection.views import Views
from vertebra.tasks.reporting.report import Picture, Section
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.normalize import normalize_for
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.training.training_pictures import as_seen


class DetectionModule(TaskModule):
    """Trains a detector, and measures it as COCO does, in the pixels of the image files.

    Logs `train/loss` and its parts, `val/map`, `val/map50` (0..1), of masks also `val/mask_map`, `val/mask_map50`, and
    the same under `test/`. The best checkpoint is that of the highest `val/mask_map` where a network predicts masks,
    else `val/map`.

    Args:
        network: the detector.
        class_names: the K classes; label k is `class_names[k - 1]`.
        mean: of each channel, where the brightest value is 1; if not given what the published weights of the backbone
            expect, see `normalize_for`.
        std: of each channel, as `mean`.
        views: test-time scales and flips, in validation, test and prediction; None for the image alone.
        distillation: loss beside that of the labels if the network learns from a `teacher`, see there.
        training: optimizer, schedule, teacher and the like, see `TaskModule`.

    Attributes:
        category_ids: (K,) int64, the training data's own id of each class: of the batches trained on, or of the
            checkpoint; 1..K before either.
    """

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/map", "max")
    labeled: ClassVar[str] = "objects"
    network: Detector
    metric: CocoMetric

    def __init__(
        self,
        network: Detector,
        class_names: Sequence[str],
        mean: list[float] | None = None,
        std: list[float] | None = None,
        views: Views | None = None,
        distillation: PyramidDistillation | None = None,
        **training: Any,
    ) -> None:
        super().__init__(network, class_names, **training)
        self.normalize = normalize_for(network, mean, std)
        self.views = views
        self.distillation = distillation or PyramidDistillation()
        self.metric = CocoMetric(self.class_names)
        self.category_ids: np.ndarray = np.arange(1, len(self.class_names) + 1)
        self._measured_ids = self.category_ids  # of the data set that `results` are of

    @classmethod
    def choose_monitor(cls, options: Mapping[str, Any]) -> tuple[str, Literal["min", "max"]]:
        network = options["network"]
        build: Any = locate(network["class_path"])
        arguments = network.get("init_args") or {}
        has_masks = isinstance(build, type) and issubclass(build, Detector) and build.has_masks(arguments)
        return ("val/mask_map", "max") if has_masks else cls.monitor

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        self.warn_skipped(batch.skipped)
        if len(batch.category_ids):
            self.category_ids = batch.category_ids
        images = self._images(batch)
        self.inputs_of_step = images, batch.targets
        if self.teacher is None:
            return self.log_losses(self.network(images, batch.targets), len(batch.images))
        pyramid = self.network.pyramid(images)
        taught = self.teacher.apply(lambda network: network.pyramid(images), images.images)
        losses = self.network.losses(pyramid, images, batch.targets)
        return self.log_losses(losses | {"loss_teacher": self.distillation(pyramid, taught)}, len(batch.images))

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

    def report_sections(self) -> list[Section]:
        return detection_sections(self.results)

    def galleries(self) -> list[Section]:
        return detection_galleries(self.results)

    def training_pictures(self, batch: DetectionBatch, count: int) -> list[Picture]:
        if self.inputs_of_step is None:
            return []
        images, targets = self.inputs_of_step
        pictures = as_seen(images.images, self.normalize, count)
        return draw_targets(pictures, images.sizes, targets, self.class_names)

    def class_table(self) -> Table:
        return class_table(self.results)

    def per_image(self) -> dict[str, np.ndarray]:
        return match_arrays(self.results.images, len(self.class_names), self.results.masks is not None)

    def write_measured(self, folder: Path) -> Path:
        file = folder / f"detections_{self.split}.json"
        write_coco_results(file, self.results.images, self._measured_ids)
        return file

    def sample_names(self, batch: DetectionBatch) -> list[str]:
        return [" + ".join((source.file, *source.others)) for source in batch.sources]

    def _images(self, batch: DetectionBatch | TileBatch) -> ImageBatch:
        images = self.normalize(batch.images, batch.sizes)
        return ImageBatch(self.to_memory_format(images), batch.sizes)

    def _detect(self, images: ImageBatch) -> list[dict[str, Tensor]]:
        return self.network(images) if self.views is None else self.views(self.network, images)

    def _evaluate(self, batch: DetectionBatch) -> list[EvaluatedImage]:
        """Detect, and bring boxes and masks back to the pixels of the image files."""
        if not batch.sources:
            return []
        try:
            whole = self._whole_images(batch)
            detections = [self._detections(batch, index, found) for index, found in enumerate(whole)]
        except NonFiniteOutput as error:
            if self.sanity_checking:  # as in `finite`
                return []
            raise NonFiniteOutput(error.rows, self.sample_names(batch)) from None
        return [
            EvaluatedImage(source.image_id, source.file, source.size, source.truth, found)
            for source, found in zip(batch.sources, detections, strict=True)
        ]

    def _whole_images(self, batch: DetectionBatch) -> list[Found | None]:
        """Return what is found in each image as a whole; None of images of which only tiles are detected on."""
        is_wanted = [source.tiled is None or source.tiled.tiles.whole for source in batch.sources]
        if not any(is_wanted):
            return [None] * len(is_wanted)
        windows = [np.array([0, 0, source.size[1], source.size[0]]) for source in batch.sources]
        rows = zip(self._detect(self._images(batch)), batch.sources, windows, is_wanted, strict=True)
        return [Found.of(found, source.factors, window) if wanted else None for found, source, window, wanted in rows]

    def _detections(self, batch: DetectionBatch, index: int, whole: Found | None) -> Detections:
        """Return the detections of an image, given those in it as a whole."""
        source = batch.sources[index]
        if source.tiled is None:
            assert whole is not None  # detected on in one way at least
            return whole_detections(whole, source.size)
        views = [] if whole is None else [whole]
        for tiles in source.tiled:
            tiles = tiles._replace(
                images=tiles.images.to(batch.images.device), sizes=tiles.sizes.to(batch.sizes.device)
            )
            try:
                found = self._detect(self._images(tiles))
            except NonFiniteOutput:
                raise NonFiniteOutput([index]) from None
            views += [Found.of(x, tiles.factors, window) for x, window in zip(found, tiles.windows, strict=True)]
        return merged_detections(views, source.size, source.tiled.tiles.nms_threshold)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["category_ids"] = self.category_ids.tolist()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.category_ids = np.array(checkpoint.get("category_ids", self.category_ids), dtype=np.int64)
