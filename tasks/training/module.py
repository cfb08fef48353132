"""Base LightningModule: optimizer, schedule, memory format, checkpoints, evaluation and report."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from vertebra.backbones.cpu_convolutions import replace_convolutions
from vertebra.backbones.weights import differences
from vertebra.tasks.loading.resumable_loader import ResumableLoader
from vertebra.tasks.reporting.evaluated_table import EvaluatedTable
from vertebra.tasks.reporting.report import Picture, Section
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.reporting.training_curves import last_logged, training_section
from vertebra.tasks.training.clipping import clip_gradients
from vertebra.tasks.training.compiling import compile_parts
from vertebra.tasks.training.data_wait import DataWait
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput, refuse_nonfinite
from vertebra.tasks.training.divergence.finite_weights import FiniteWeights
from vertebra.tasks.training.divergence.guard import SKIPPED_STEPS, DivergenceGuard, OnDivergence
from vertebra.tasks.training.folded_norms import FoldedNorms
from vertebra.tasks.training.parameter_groups import parameter_groups
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.training.schedules import Cosine, Schedule
from vertebra.tasks.training.single_sample import SingleSampleCheck
from vertebra.tasks.training.step_seed import StepSeed

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]


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


class TaskModule(LightningModule, ABC):
    """Base LightningModule of every task: optimizer, schedule, checkpoints.

    A task adds `training_step`, a `validation_step` that updates `metric`, a writer of predictions, and the sections of
    its report. Its constructor passes these arguments on as `**training`. A module never reaches for its data module:
    what a sample belongs to (its name, its group) travels in the batch, what a loss needs from the training set
    comes by `prepare`, and examples for the report are read from the data set of the loader that was evaluated.

    Args:
        network: the network of the task.
        class_names: the K classes, in the order of their labels.
        optimizer: class and arguments of the optimizer; weight decay is not applied to norms and biases.
        schedule: factor on the learning rate over the training; warmup and cosine annealing by default.
        channels_last: whether weights and images are in channels-last memory format, in which convolutions are fastest.
        compile_mode: mode of `torch.compile` for training; `reduce-overhead` replays CUDA graphs. None does not
            compile, which takes minutes, and needs a C++ compiler on a CPU.
        layer_decay: ratio of the learning rate of each layer to that of the next, from the head down to the stem; 1
            for one rate. Layers are those of `vertebra.tasks.training.layers.layer_groups`.
        head_lr_mult: factor on the learning rate of the head.
        on_divergence: reaction to a step with a non-finite loss or gradient: `stop` the run, or `skip` the step, which
            then changes no weight, momentum or norm statistics, and is counted.

    Attributes:
        monitor: logged metric that selects the best checkpoint, and whether its `max` or `min` is best.
        labeled: plural noun for what has a label, such as `objects`.
        epoch: of the checkpoint that was loaded, from 1 on; None for weights that are trained on.
        by_layer: whether the optimizer has parameter groups for each layer; set before it is created.
        losses_of_step: the losses of the last training step, as given to `log_losses`.
        inputs_of_step: what the network was given in this training step, augmented, mixed and normalized, and the
            targets; None between two steps.
        metric: metric that evaluation steps update.
        results: results of the last evaluation, None before the first.
        split: split of that evaluation, `val` or `test`.
        examined: examples of that evaluation for the report; none while training.
        skipped: messages about files that could not be read, in order.
    """

    metric: Metric

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/loss", "min")
    labeled: ClassVar[str] = "samples"

    def __init__(
        self,
        network: nn.Module,
        class_names: Sequence[str],
        optimizer: OptimizerCallable = lambda groups: torch.optim.SGD(
            groups, lr=0.02, momentum=0.9, weight_decay=1e-4, fused=True
        ),
        schedule: Schedule | None = None,
        channels_last: bool = True,
        compile_mode: CompileMode | None = None,
        layer_decay: float = 1.0,
        head_lr_mult: float = 1.0,
        on_divergence: OnDivergence = "stop",
    ) -> None:
        super().__init__()
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay is {layer_decay}; it is a factor above 0 and up to 1 (no decay).")
        if head_lr_mult <= 0:
            raise ValueError(f"head_lr_mult is {head_lr_mult}; it is a factor on the learning rate, above 0.")
        self.channels_last = channels_last
        replace_convolutions(network)  # networks from elsewhere have right gradients, too
        self.network = network
        for parameter in network.parameters():
            parameter.data = self.to_memory_format(parameter.data)
        self.class_names = list(class_names)
        self.make_optimizer = optimizer
        self.schedule = schedule or Cosine()
        self.compile_mode = compile_mode
        self.layer_decay = layer_decay
        self.head_lr_mult = head_lr_mult
        self.on_divergence = on_divergence
        self.losses_of_step: dict[str, Tensor] = {}
        self.inputs_of_step: tuple[Any, Any] | None = None
        self.by_layer = layer_decay < 1 or head_lr_mult != 1
        self.results: Any = None
        self.split = ""
        self.examined: list[Any] = []
        self.epoch: int | None = None
        self.skipped: dict[str, None] = {}  # a dictionary for its order

    @classmethod
    def choose_monitor(cls, options: Mapping[str, Any]) -> tuple[str, Literal["min", "max"]]:
        """Return the metric that selects the best checkpoint of a run, see `monitor`.

        Args:
            options: constructor arguments in the configuration; the network as `class_path` and `init_args`.
        """
        return cls.monitor

    def __deepcopy__(self, memo: dict[int, Any]) -> TaskModule:
        # shared, not copied: on the command line the factory refers to the trainer and the data, which averaging of
        # weights would copy with the module, and which cannot be copied if the trainer has started other processes
        memo[id(self.make_optimizer)] = self.make_optimizer
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied

    def on_fit_start(self) -> None:
        if self.compile_mode:
            compile_parts(self.network, mode=self.compile_mode)

    def on_train_start(self) -> None:
        self.prepare(getattr(self.trainer.train_dataloader, "dataset", None))

    def prepare(self, dataset: Any) -> None:
        """Take from the training set what a loss needs before the first step, such as how often a class occurs.

        Args:
            dataset: of the training loader, None where that has none.
        """

    def configure_optimizers(self) -> Any:
        factors = (self.layer_decay, self.head_lr_mult) if self.by_layer else None
        optimizer = self.make_optimizer(parameter_groups(self.network, factors))
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_factor", 1.0)
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ValueError(
                "the learning-rate schedule needs an end of training; set --trainer.max_epochs or --trainer.max_steps."
            )
        scheduler = LambdaLR(optimizer, lambda step: self.schedule((step + 1) / max(1, total)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.inputs_of_step = None  # its memory is needed for the next step
        self._place_loader(self.current_epoch, batch_idx + 1)

    def on_train_epoch_end(self) -> None:
        self._place_loader(self.current_epoch + 1, 0)  # also where `limit_train_batches` or `max_steps` ended the epoch

    def _place_loader(self, epoch: int, batches: int) -> None:
        if isinstance(loader := self.trainer.train_dataloader, ResumableLoader):
            loader.position = (epoch, batches)

    def to_memory_format(self, x: Tensor) -> Tensor:
        """Return images (N, C, H, W), clips or volumes (N, C, D, H, W), or weights in the memory format of the run."""
        inner = {4: torch.channels_last, 5: torch.channels_last_3d}
        if x.dim() not in inner:
            return x
        # `to` and not `contiguous`: for that a 1x1 kernel is in either format already
        return x.to(memory_format=inner[x.dim()] if self.channels_last else torch.contiguous_format)

    def log_losses(self, losses: Mapping[str, Tensor], batch_size: int) -> Tensor:
        """Log every loss and return their sum, which is logged as `train/loss`; `loss` alone is that sum."""
        total = torch.stack(list(losses.values())).sum()
        parts = {name: loss for name, loss in losses.items() if name != "loss"}
        # the parts first, since the guard names the first loss that is not finite
        self.losses_of_step = {name: loss.detach() for name, loss in (*parts.items(), ("loss", total))}
        self.log("train/loss", total, prog_bar=True, batch_size=batch_size)
        self.log_dict({f"train/{name}": loss for name, loss in parts.items()}, batch_size=batch_size)
        return total

    def sample_names(self, batch: Any) -> list[str]:
        """Return the names of a batch's samples, such as their files, as far as it has any."""
        return list(getattr(batch, "names", ()))

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

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if gradient_clip_val:
            clip_gradients(self.trainer, optimizer, float(gradient_clip_val), gradient_clip_algorithm or "norm")

    def configure_callbacks(self) -> list[Callback]:
        stage = self.trainer.state.fn
        if stage == TrainerFn.FITTING:
            return [DivergenceGuard(self.on_divergence), SingleSampleCheck(), StepSeed(), DataWait()]
        if stage == TrainerFn.PREDICTING:
            return [FiniteWeights(), FoldedNorms(), self.prediction_writer()]
        return [FiniteWeights(), *([FoldedNorms()] if stage == TrainerFn.TESTING else [])]

    def warn_skipped(self, messages: Sequence[str]) -> None:
        """Warn of files that could not be read, once each, and count them; every process warns of its own."""
        for message in messages:
            if message not in self.skipped:
                self.skipped[message] = None
                warnings.warn(f"skipped ({len(self.skipped)} so far): {message}", stacklevel=2)

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

    def training_pictures(self, batch: Any, count: int) -> list[Picture]:
        """Draw `inputs_of_step` with their targets; it may wait for the device.

        Args:
            batch: of the step.
            count: of samples at most.
        """
        return []

    def class_table(self) -> Table | None:
        """Return the scores of each class in `results`, or None where there are none."""
        return None

    def write_measured(self, folder: Path) -> Path | None:
        """Write the predictions behind `results` in the format of the field's own tools, and return the file.

        None is returned where that is no file beyond the table of `evaluated`.
        """
        return None

    def evaluated(self) -> EvaluatedTable | None:
        """Return the prediction for each sample of the last evaluation, or None where a sample has no class."""
        return None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["class_names"] = self.class_names

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.epoch = checkpoint["epoch"] + 1 if "epoch" in checkpoint else None
        names = checkpoint.get("class_names", self.class_names)
        if names != self.class_names:
            raise ValueError(
                f"the checkpoint was trained on the classes {names}, the data set has {self.class_names}; use the data "
                "set that the checkpoint was trained on, or start from its weights with --model.network.weights."
            )
        # a strategy that shards the network has taken the weights out of the checkpoint before
        found = differences(self.state_dict(), checkpoint.get("state_dict", self.state_dict()), "the checkpoint")
        if found:
            raise ValueError(
                f"{'; '.join(found)}. Build the network that the checkpoint is of, or start a training from the "
                "weights that fit with --model.network.weights."
            )
