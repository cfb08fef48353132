"""LightningModule of semantic segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vertebra.tasks.reporting.report import Picture, Section
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.segmentation.dataset import SegmentationBatch
from vertebra.tasks.segmentation.distillation import ChannelDistillation
from vertebra.tasks.segmentation.drawing import overlay, present
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.intervals import count_arrays
from vertebra.tasks.segmentation.losses import CrossEntropy
from vertebra.tasks.segmentation.metrics import SegmentationMetric
from vertebra.tasks.segmentation.outputs import SegmentationOutput
from vertebra.tasks.segmentation.predictions import MaskWriter, Prediction
from vertebra.tasks.segmentation.report import (
    NUM_WORST,
    Example,
    class_table,
    segmentation_galleries,
    segmentation_sections,
)
from vertebra.tasks.segmentation.segmenter import Segmenter
from vertebra.tasks.segmentation.views import Views, WholeImage
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.normalize import normalize_for
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.training.training_pictures import as_seen


class SegmentationModule(TaskModule):
    """Trains a segmenter, and measures it in the pixels of the image files.

    Logs `train/loss` and its parts, `val/miou`, `val/pixel_accuracy` (0..1), and the same under `test/`.

    Args:
        network: the segmenter.
        class_names: the K classes; label k is `class_names[k]`.
        loss: loss of logits (N, K, H, W) and labels (N, H, W); cross-entropy by default.
        aux_weight: weight of the auxiliary head's loss, for networks that have one.
        views: test-time windows, scales and flips, in validation, test and prediction; the whole image by default.
        mean: mean of each channel, on a scale where the brightest value is 1; by default what the published weights of
            the backbone expect, see `normalize_for`.
        std: standard deviation of each channel, on the same scale.
        distillation: loss beside that of the labels if the network learns from a `teacher`, see there.
        training: arguments of `TaskModule`: optimizer, schedule, learning rates per layer, teacher.
    """

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/miou", "max")
    labeled: ClassVar[str] = "pixels"
    network: Segmenter
    metric: SegmentationMetric

    def __init__(
        self,
        network: Segmenter,
        class_names: Sequence[str],
        loss: nn.Module | None = None,
        aux_weight: float = 0.4,
        views: Views | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        distillation: ChannelDistillation | None = None,
        **training: Any,
    ) -> None:
        super().__init__(network, class_names, **training)
        if aux_weight < 0:
            raise ValueError(f"aux_weight is {aux_weight}; it is the weight of a loss, 0 or more.")
        self.loss = loss or CrossEntropy()
        self.aux_weight = aux_weight
        self.distillation = distillation or ChannelDistillation()
        self.views = views or WholeImage()
        self.normalize = normalize_for(network, mean, std)
        self.metric = SegmentationMetric(self.class_names)
        self._warned: set[str] = set()  # splits whose caveat was given

    def training_step(self, batch: SegmentationBatch, batch_idx: int) -> Tensor:
        self.warn_skipped(batch.skipped)
        target = batch.masks.long()
        images = self._images(batch)
        self.inputs_of_step = images, batch.masks
        logits, aux_logits = self.network.all_logits(images)
        losses = {"loss_main": self.loss(logits, target)}
        if aux_logits is not None:
            losses["loss_aux"] = self.aux_weight * self.loss(aux_logits, target)
        if self.teacher is not None:
            taught = self.teacher.logits(images)
            losses["loss_teacher"] = self.distillation(logits, taught, batch.masks != IGNORE_INDEX)
        return self.log_losses(losses, len(batch.images))

    def validation_step(self, batch: SegmentationBatch, batch_idx: int) -> None:
        self.warn_skipped(batch.skipped)
        for place, labels, scores in self._labels(batch):
            height, width = batch.mask_sizes[place].tolist()
            mask = batch.masks[place, :height, :width]
            self.metric.update(labels[None], mask[None], batch.indices[place : place + 1], scores[None])

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._warn_of_caveat()

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._warn_of_caveat()

    def predict_step(self, batch: SegmentationBatch, batch_idx: int) -> list[Prediction]:
        self.warn_skipped(batch.skipped)
        return [
            Prediction(int(batch.indices[place]), batch.names[place], labels.to(torch.uint8).cpu().numpy())
            for place, labels, _ in self._labels(batch)
        ]

    def prediction_writer(self) -> PredictionWriter:
        return MaskWriter(self.class_names)

    def sample_outputs(self, predictions: Sequence[Prediction], dataset: Any) -> list[SampleOutput]:
        return [SegmentationOutput(prediction, self.class_names, dataset.images) for prediction in predictions]

    def collect_examples(self, loader: DataLoader) -> list[Example]:
        examples: list[Example] = []
        scores = self.results.per_image_miou
        rows = np.argsort(scores, kind="stable")[:NUM_WORST]  # NaN, where nothing is labeled, comes last
        for row in rows[~np.isnan(scores[rows])].tolist():
            batch = self.batch_of(loader, int(self.results.indices[row]))
            with self.trainer.precision_plugin.forward_context():
                for place, labels, _ in self._labels(batch):
                    mask, predicted = (x.to(torch.uint8).cpu().numpy() for x in (batch.masks[place], labels))
                    examples.append(Example(batch.names[place], float(scores[row]), mask, predicted))
        return examples

    def per_image(self) -> dict[str, np.ndarray]:
        return count_arrays(self.results.matrices)

    def report_sections(self) -> list[Section]:
        return segmentation_sections(self.results)

    def galleries(self) -> list[Section]:
        return segmentation_galleries(self.results, self.examined)

    def training_pictures(self, batch: SegmentationBatch, count: int) -> list[Picture]:
        if self.inputs_of_step is None:
            return []
        images, masks = self.inputs_of_step
        pairs = zip(as_seen(images, self.normalize, count), masks[:count].cpu().numpy(), strict=True)
        return [
            Picture(overlay(picture, mask, self.class_names), "", present(mask, self.class_names))
            for picture, mask in pairs
        ]

    def class_table(self) -> Table:
        return class_table(self.results)

    def _warn_of_caveat(self) -> None:
        """Warn once of classes that are not measured; not in a sanity check, which runs on too few images."""
        if self.trainer.sanity_checking or self.split in self._warned:
            return
        self._warned.add(self.split)
        if caveat := self.results.caveat():
            rank_zero_warn(f"{self.split}: {caveat}")

    def _images(self, batch: SegmentationBatch) -> Tensor:
        return self.to_memory_format(self.normalize(batch.images, batch.sizes))

    def _labels(self, batch: SegmentationBatch) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield place in the batch, labels (H, W) int64 and their probabilities of each image, in pixels of its file.

        Images of one size go through the network together, others separately and without their padding, so that the
        prediction for an image does not depend on the rest of the batch.
        """
        images = self._images(batch)
        # waits for the device, which does no harm in evaluation
        for height, width in torch.unique(batch.sizes, dim=0).tolist():
            places = ((batch.sizes[:, 0] == height) & (batch.sizes[:, 1] == width)).nonzero().flatten()
            probs = self.views(self.network, images[places, :, :height, :width])
            probs = self.finite(probs, [batch.names[place] for place in places.tolist()])
            for place, one in zip(places.tolist(), probs, strict=True):
                size = batch.mask_sizes[place].tolist()
                if size != [height, width]:
                    one = F.interpolate(one[None], size=size, mode="bilinear", align_corners=False)[0]
                scores, labels = one.max(dim=0)
                yield place, labels, scores
