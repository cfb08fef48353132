"""Base LightningModule of evaluations: metric, results, examples, predictions and report."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from vertebra.tasks.reporting.evaluated_table import EvaluatedTable
from vertebra.tasks.reporting.report import Section
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.reporting.training_curves import last_logged, training_section
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput, refuse_nonfinite
from vertebra.tasks.training.divergence.guard import SKIPPED_STEPS
from vertebra.tasks.training.prediction_writer import PredictionWriter

NAMED_FILES = 20  # unreadable ones with a warning each


class Results(Protocol):
    """The results of an evaluation."""

    def scores(self) -> dict[str, float]:
        """Return what is logged, under names without `val/`."""

    def headline(self) -> dict[str, float]:
        """Return the main numbers, by their names in a report."""

    def label_counts(self) -> np.ndarray:
        """Return the number of labels of each of the K classes, (K,) int."""


class Metric(Protocol):
    """Collects predictions, and scores them over all processes."""

    def compute(self) -> Results:
        """Return the results; every process must call this, and each gets the same."""

    def reset(self) -> None:
        """Discard what was collected."""


class EvaluatedModule(LightningModule, ABC):
    """Base LightningModule of evaluations: scores of a split, examples, predictions and report.

    A task adds a `validation_step` that updates `metric`, a writer of predictions, and the sections of its report.
    Examples for the report are read from the data set of the loader that was evaluated.

    Attributes:
        monitor: logged metric that selects the best checkpoint, and whether its `max` or `min` is best.
        labeled: plural noun for what has a label, such as `objects`.
        things: plural noun for the samples.
        metric: metric that evaluation steps update.
        results: results of the last evaluation, None before the first.
        split: split of that evaluation, `val` or `test`.
        examined: examples of that evaluation for the report; none while training.
        skipped: messages about files that could not be read, in order.
    """

    metric: Metric

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/loss", "min")
    labeled: ClassVar[str] = "samples"
    things: ClassVar[str] = "images"

    def __init__(self) -> None:
        super().__init__()
        self.results: Any = None
        self.split = ""
        self.examined: list[Any] = []
        self.skipped: dict[str, None] = {}  # a dictionary for its order

    @property
    def sanity_checking(self) -> bool:
        """Whether this is the check before training, whose results are discarded."""
        return self._trainer is not None and self._trainer.sanity_checking  # predictions from Python have no trainer

    def finite(self, outputs: Tensor, names: Sequence[str]) -> Tensor:
        """Return the outputs of the network in evaluation.

        Args:
            outputs: (N, ...), logits or probabilities.
            names: of the samples.

        Raises:
            NonFiniteOutput: they are NaN or infinite.
        """
        try:
            refuse_nonfinite(outputs, names)
        except NonFiniteOutput:
            if not self.sanity_checking:
                raise
            # its scores are discarded; an untrained network may well overflow in half precision
            outputs = outputs.nan_to_num()
        return outputs

    def warn_skipped(self, messages: Sequence[str]) -> None:
        """Warn of files that could not be read, once each, and count them; every process warns of its own.

        Of many files, such as a folder of another task, only every hundredth is named.
        """
        for message in messages:
            if message in self.skipped:
                continue
            self.skipped[message] = None
            count = len(self.skipped)
            if count <= NAMED_FILES or count % 100 == 0:
                more = " From here on every hundredth file is named." if count == NAMED_FILES else ""
                warnings.warn(f"skipped ({count} so far): {message}{more}", stacklevel=2)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._score("val", self.trainer.val_dataloaders)

    def on_test_epoch_end(self) -> None:
        self._score("test", self.trainer.test_dataloaders)

    def calibrate(self, results: Any, split: str) -> Any:
        """Return calibrated results of `val` or `test`; a task may fit on `val` what it then applies to both."""
        return results

    def collect_examples(self, loader: DataLoader) -> list[Any]:
        """Return the samples that the report shows, such as the worst: to keep all of them would take too much memory.

        Every process runs the network on all of them, so that sharded networks stay in step.

        Args:
            loader: of the evaluation that `results` are of.
        """
        return []

    def batch_of(self, loader: DataLoader, index: int) -> Any:
        """Return one sample of a loader's data set as a batch on the device of this module."""
        batch = loader.collate_fn([loader.dataset[index]])
        return self.transfer_batch_to_device(batch, self.device, 0)

    def _score(self, split: str, loader: Any) -> None:
        self.results, self.split = self.calibrate(self.metric.compute(), split), split
        self.metric.reset()
        # every process has the same results, so that the mean over them changes nothing
        for name, score in self.results.scores().items():
            self.log(f"{split}/{name}", score, prog_bar=f"val/{name}" == self.monitor[0], sync_dist=True)
        self.examined = [] if self.trainer.state.fn == TrainerFn.FITTING else self.collect_examples(loader)

    def report(
        self, metrics_csv: Sequence[Path], on_training: Sequence[Section] = ()
    ) -> tuple[dict[str, float], list[Section]]:
        """Return the headline numbers and the sections of the report on the last evaluation.

        Every task has the same order: what was measured, how it was trained, and pictures.

        Args:
            metrics_csv: what Lightning's CSVLogger wrote, oldest first; a resumed run has several.
            on_training: more sections on the data and the training, which come before the pictures.
        """
        if self.results is None:
            raise ValueError("nothing was measured yet; run validate or test before a report.")
        skipped = last_logged(metrics_csv, SKIPPED_STEPS)
        headline = self.results.headline() | ({"skipped steps": int(skipped)} if skipped else {})
        curves = training_section(metrics_csv)
        training = [*([curves] if curves else []), *on_training]
        return headline, [*self.report_sections(), *training, *self.galleries()]

    @abstractmethod
    def prediction_writer(self) -> PredictionWriter:
        """Return what writes the files of `vertebra predict`."""

    @abstractmethod
    def sample_outputs(self, predictions: Sequence[Any], dataset: Any) -> list[SampleOutput]:
        """Return predictions as programs and notebooks use them, one per sample.

        Args:
            predictions: what `predict_step` returned, in order.
            dataset: the samples that were predicted on.
        """

    @abstractmethod
    def report_sections(self) -> list[Section]:
        """Return the sections of the report on `results`: scores, curves, confusion."""

    def galleries(self) -> list[Section]:
        """Return the sections of the report with pictures of `examined`."""
        return []

    def class_table(self) -> Table | None:
        """Return the scores of each class in `results`, or None where there are none."""
        return None

    def write_measured(self, folder: Path) -> Path | None:
        """Write the predictions behind `results` in the format of the field's own tools, and return the file.

        None is returned where that is no file beyond the table of `evaluated`.
        """
        return None

    def per_image(self) -> dict[str, np.ndarray] | None:
        """Return what `results` are computed from, for each image, or None where that is the table of `evaluated`."""
        return None

    def evaluated(self) -> EvaluatedTable | None:
        """Return the prediction for each sample of the last evaluation, or None where a sample has no class."""
        return None
