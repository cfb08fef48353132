"""LightningModule of the classification of studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vertebra.tasks.medical.balance import class_counts, known_counts
from vertebra.tasks.medical.dataset import MedicalBatch, MedicalDataset
from vertebra.tasks.medical.grad_cam import grad_cam
from vertebra.tasks.medical.image_network import MedicalClassifier
from vertebra.tasks.medical.metrics import MedicalMetric
from vertebra.tasks.medical.outputs import MedicalOutput
from vertebra.tasks.medical.predictions import Prediction, StudyWriter, model_hash
from vertebra.tasks.medical.report import NUM_SHOWN, Example, class_table, medical_galleries, medical_sections
from vertebra.tasks.medical.results import MedicalResults
from vertebra.tasks.medical.slices import middle_slice
from vertebra.tasks.medical.study_network import StudyClassifier
from vertebra.tasks.medical.targets import Classes, Target
from vertebra.tasks.medical.temperature import calibrated_probs
from vertebra.tasks.reporting.evaluated_table import EvaluatedTable
from vertebra.tasks.reporting.report import Picture, Section
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.scoring.conditions import condition_classes
from vertebra.tasks.scoring.operating_point import DEFAULT_THRESHOLD, decide
from vertebra.tasks.training.distillation.logits import LogitDistillation
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.training.views import Views

_MOST_CONDITIONS = 3  # whose studies a report shows


class MedicalModule(TaskModule):
    """Trains a classifier of studies, and measures discrimination, decisions and calibration.

    On every validation split a temperature is fitted and thresholds are chosen; both are kept in the checkpoint and
    applied by `vertebra test` and `vertebra predict`. Logs `train/loss`, `val/auroc`, `val/average_precision`,
    `val/balanced_accuracy`, `val/sensitivity`, `val/specificity`, `val/ece` and others, and the same under `test/`.

    Args:
        network: the classifier.
        class_names: the K classes, grades or findings; label k is `class_names[k]`.
        target: meaning of labels, and loss, in agreement with `data.kind`; exclusive classes by default.
        sensitivity: sensitivity that the thresholds must reach on the validation split; None chooses them by Youden's
            index.
        views: test-time flips and crops (of height and width), in validation, test and prediction; None for the scan
            alone. Set them in training, as temperature and thresholds are fitted with them. Grad-CAM maps are of the
            scan alone.
        explain: whether `vertebra predict` also writes a Grad-CAM map for every scan.
        distillation: loss beside that of the labels if the network learns from a `teacher`, see there.
        training: arguments of `TaskModule`: optimizer, schedule, learning rates per layer, teacher.

    Attributes:
        temperature: that logits are divided by.
        thresholds: (C,) float64, from which probability on each condition is called present.
    """

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/auroc", "max")
    labeled: ClassVar[str] = "studies"
    things: ClassVar[str] = "studies"
    network: MedicalClassifier | StudyClassifier
    metric: MedicalMetric

    def __init__(
        self,
        network: MedicalClassifier | StudyClassifier,
        class_names: Sequence[str],
        target: Target | None = None,
        sensitivity: float | None = None,
        views: Views | None = None,
        explain: bool = False,
        distillation: LogitDistillation | None = None,
        **training: Any,
    ) -> None:
        super().__init__(network, class_names, **training)
        self.target = target or Classes()
        self.sensitivity = sensitivity
        self.views = views
        self.explain = explain
        self.distillation = distillation or LogitDistillation()
        self.metric = MedicalMetric(self.class_names, self.target.kind)
        number = len(condition_classes(len(self.class_names), self.exclusive))
        # plain numbers and no buffers: they are float64, which some devices do not have
        self.temperature = 1.0
        self.thresholds = np.full(number, DEFAULT_THRESHOLD)

    @property
    def exclusive(self) -> bool:
        """Whether a study has one class, or any number of findings."""
        return self.target.kind != "findings"

    def prepare(self, dataset: Any) -> None:
        if isinstance(dataset, MedicalDataset):
            self.target.prepare(class_counts(dataset.studies), known_counts(dataset.studies))
            self.target.to(self.device)  # once, since a copy at every step would wait for the device

    def training_step(self, batch: MedicalBatch, batch_idx: int) -> Tensor:
        self.warn_skipped(batch.skipped)
        self.inputs_of_step = batch.images, batch.labels
        logits = self._logits(batch)
        losses = {"loss": self.target.loss(logits, batch.labels)}
        if self.teacher is not None:
            taught = self.teacher.logits(self.to_memory_format(batch.images), batch.counts)
            losses["loss_teacher"] = self.distillation(logits, taught, self.exclusive)
        return self.log_losses(losses, len(batch.images))

    def validation_step(self, batch: MedicalBatch, batch_idx: int) -> None:
        self.warn_skipped(batch.skipped)
        if len(batch.images):
            logits = self.finite(self._logits(batch, self.views), batch.names)
            self.metric.update(logits, batch.labels, batch.indices, batch.names, batch.groups)

    def predict_step(self, batch: MedicalBatch, batch_idx: int) -> list[Prediction]:
        self.warn_skipped(batch.skipped)
        if not len(batch.images):
            return []
        logits = self.finite(self._logits(batch, self.views), batch.names).cpu()
        probs = calibrated_probs(logits, self.exclusive, self.temperature).numpy()
        maps: Sequence[np.ndarray | None] = [None] * len(probs)
        if self.explain:
            shown = torch.from_numpy(self._explained(probs)).to(batch.images.device)
            maps = list(self._maps(batch, shown))
        decided = decide(probs, self.thresholds, self.exclusive)
        labels = [(int(one),) if self.exclusive else tuple(np.flatnonzero(one).tolist()) for one in decided]
        rows = zip(batch.indices.tolist(), batch.names, probs, labels, maps, strict=True)
        return [Prediction(*row) for row in rows]

    def prediction_writer(self) -> PredictionWriter:
        return StudyWriter(self.class_names, self._fingerprint)

    def sample_outputs(self, predictions: Sequence[Prediction], dataset: Any) -> list[SampleOutput]:
        ordered = sorted(predictions, key=lambda one: one.study_index)
        return [MedicalOutput(prediction, self.class_names, dataset) for prediction in ordered]

    def calibrate(self, results: MedicalResults, split: str) -> MedicalResults:
        if split == "val":
            calibrated = results.at(results.fit_temperature())
            self.temperature = calibrated.temperature
            self.thresholds = calibrated.choose_thresholds(self.sensitivity)
        return results.at(self.temperature, self.thresholds)

    def collect_examples(self, loader: DataLoader) -> list[Example]:
        examples: list[Example] = []
        if not hasattr(self.network, "forward_features"):  # an exported file has no activation maps to show
            return examples
        for condition, label in enumerate(self.results.conditions.classes[:_MOST_CONDITIONS].tolist()):
            for rows in (*self.results.errors(condition), self.results.hits(condition)):
                examples += [self._examine(loader, row, condition, label) for row in rows[:NUM_SHOWN].tolist()]
        return examples

    def report_sections(self) -> list[Section]:
        return medical_sections(self.results)

    def galleries(self) -> list[Section]:
        return medical_galleries(self.results, self.examined)

    def training_pictures(self, batch: MedicalBatch, count: int) -> list[Picture]:
        if self.inputs_of_step is None:
            return []
        images, labels = (part[:count].detach().float().cpu() for part in self.inputs_of_step)
        scans = images[:, 0] if isinstance(self.network, StudyClassifier) else images  # of a study the first image
        pairs = zip(scans.numpy(), labels, strict=True)
        return [Picture(middle_slice(scan), "", self._named(label)) for scan, label in pairs]

    def _named(self, label: Tensor) -> str:
        """Return the class of a label (), or the findings that are present in (K,)."""
        if label.dim() == 0:
            return self.class_names[int(label)]
        found = [self.class_names[k] for k in (label == 1).nonzero().flatten().tolist()]
        return ", ".join(found) or "no finding"

    def class_table(self) -> Table:
        return class_table(self.results)

    def evaluated(self) -> EvaluatedTable:
        seen = self.results.studies
        return EvaluatedTable(tuple(self.class_names), seen.names, seen.patients, seen.labels, self.results.probs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["operating_point"] = {"temperature": self.temperature, "thresholds": self.thresholds.tolist()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        point = checkpoint["operating_point"]
        self.temperature, self.thresholds = point["temperature"], np.array(point["thresholds"], dtype=np.float64)

    def _fingerprint(self) -> str:
        return model_hash(self.network.state_dict(), self.temperature, self.thresholds.tolist())

    def _logits(self, batch: MedicalBatch, views: Views | None = None) -> Tensor:
        if batch.kind != self.target.kind:
            raise ValueError(
                f"data.kind is {batch.kind}, but model.target is for {self.target.kind}; give --data.kind "
                f"{self.target.kind}, or another --model.target."
            )
        images = self.to_memory_format(batch.images)
        if views is None:
            return self.network(images, batch.counts).float()
        return views(lambda view: self.network(view, batch.counts), images, self.exclusive)

    def _explained(self, probs: np.ndarray) -> np.ndarray:
        """Return which class of each study is explained: the condition of two classes, else the most probable."""
        if self.exclusive and len(self.class_names) == 2:
            return np.ones(len(probs), dtype=np.int64)
        return probs.argmax(axis=1)

    def _maps(self, batch: MedicalBatch, labels: Tensor) -> np.ndarray:
        cams = grad_cam(self.network, self.to_memory_format(batch.images), labels, counts=batch.counts)
        return cams.cpu().numpy()

    def _examine(self, loader: Any, row: int, condition: int, label: int) -> Example:
        batch = self.batch_of(loader, int(self.results.studies.indices[row]))
        with self.trainer.precision_plugin.forward_context():
            cam = self._maps(batch, torch.tensor([label], device=self.device))[0]
        image = batch.images[0].float().cpu().numpy()
        return Example(batch.names[0], condition, row, image, cam)
