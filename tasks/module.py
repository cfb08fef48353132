"""What every task's training shares: optimizer, schedule, memory format, and checkpoints that know their classes."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from tasks.compiling import compile_parts
from tasks.data import ResumableLoader
from tasks.evaluated_table import EvaluatedTable
from tasks.folded_norms import FoldedNorms
from tasks.layers import layers_of
from tasks.report import Section
from tasks.schedules import Cosine, Schedule

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


class Results(Protocol):
    """What an evaluation found."""

    def scores(self) -> dict[str, float]:
        """Return what is logged, under names without `val/`."""

    def headline(self) -> dict[str, float]:
        """Return the numbers that a reader asks for first, by their names in a report."""


class Metric(Protocol):
    """Collects what a network says, and scores it over all processes."""

    def compute(self) -> Results:
        """Return the results; every process must call this, and each gets the same."""

    def reset(self) -> None:
        """Forget all that was collected."""


class TaskModule(LightningModule, ABC):
    """Holds a network and says how it is trained and measured.

    A task gives it `training_step`, a `validation_step` that feeds `metric`, and the sections of its report. Its own
    constructor hands on these arguments as `**training`.

    Args:
        network: the network of the task.
        class_names: the K classes, in the order of their labels.
        optimizer: parameter groups to an optimizer; weight decay does not touch norms and biases.
        schedule: factor on the learning rate over the training.
        channels_last: keep the weights and the images with the channels innermost, which convolutions are fastest on.
        compile_mode: compiles the network for training with this mode of `torch.compile`; `reduce-overhead` plays it
            back as CUDA graphs. None leaves it as it is: compiling takes minutes, and needs a C++ compiler on a CPU.
        layer_decay: the learning rate of each layer is so many times that of the layer behind it, from the head down
            to the stem; 1 for one rate. Layers are those of `tasks.layers.layers_of`.

    Attributes:
        monitor: the logged metric that the best checkpoint is chosen by, and whether it is to be `max` or `min`.
        by_layer: whether the optimizer keeps the layers apart; set before it is made.
        metric: what evaluation steps feed.
        results: of the last evaluation, None before the first.
        split: that evaluation's split, `val` or `test`.
    """

    metric: Metric

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/loss", "min")

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
        head_factor: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay is {layer_decay}; it is a factor above 0 and up to 1 (no decay).")
        if head_factor <= 0:
            raise ValueError(f"head_factor is {head_factor}; it is a factor on the learning rate, above 0.")
        self.channels_last = channels_last
        self.network = network
        for parameter in network.parameters():
            parameter.data = self.arranged(parameter.data)
        self.class_names = list(class_names)
        self.make_optimizer = optimizer
        self.schedule = schedule or Cosine()
        self.compile_mode = compile_mode
        self.layer_decay = layer_decay
        self.head_factor = head_factor
        self.by_layer = layer_decay < 1 or head_factor != 1
        self.results: Any = None
        self.split = ""
        self._told: set[str] = set()

    def on_fit_start(self) -> None:
        if self.compile_mode:
            compile_parts(self.network, mode=self.compile_mode)

    def configure_optimizers(self) -> Any:
        factors = (self.layer_decay, self.head_factor) if self.by_layer else None
        optimizer = self.make_optimizer(parameter_groups(self.network, factors))
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_factor", 1.0)
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ValueError(
                "the training has no end to schedule for; set --trainer.max_epochs or --trainer.max_steps."
            )
        scheduler = LambdaLR(optimizer, lambda step: self.schedule((step + 1) / max(1, total)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if isinstance(loader := self.trainer.train_dataloader, ResumableLoader):
            loader.position = (self.current_epoch, batch_idx + 1)

    def arranged(self, x: Tensor) -> Tensor:
        """Return images (N, C, H, W), clips or volumes (N, C, D, H, W), or weights in the memory format of the run."""
        inner = {4: torch.channels_last, 5: torch.channels_last_3d}
        if x.dim() not in inner:
            return x
        # `to` and not `contiguous`: for that a 1x1 kernel is in either format already
        return x.to(memory_format=inner[x.dim()] if self.channels_last else torch.contiguous_format)

    def log_losses(self, losses: Mapping[str, Tensor], batch_size: int) -> Tensor:
        """Log every loss and return their sum, which is logged as `train/loss`."""
        total = torch.stack(list(losses.values())).sum()
        self.log("train/loss", total, prog_bar=True, batch_size=batch_size)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, batch_size=batch_size)
        return total

    def configure_callbacks(self) -> list[Callback]:
        stage = self.trainer.state.fn
        folded: list[Callback] = [FoldedNorms()] if stage in (TrainerFn.TESTING, TrainerFn.PREDICTING) else []
        return folded + (self.prediction_writers() if stage == TrainerFn.PREDICTING else [])

    def prediction_writers(self) -> list[Callback]:
        """Return what writes the files of `vertebra predict`."""
        return []

    def tell_skipped(self, messages: Sequence[str]) -> None:
        """Warn of files that could not be read, of each once in a run, and count them; every process tells its own."""
        for message in messages:
            if message not in self._told:
                self._told.add(message)
                warnings.warn(f"skipped ({len(self._told)} so far): {message}", stacklevel=2)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._score("val")

    def on_test_epoch_end(self) -> None:
        self._score("test")

    def judged(self, results: Any, split: str) -> Any:
        """Return the results of `val` or `test` as they count; a task may fit on `val` what it then applies."""
        return results

    def _score(self, split: str) -> None:
        self.results, self.split = self.judged(self.metric.compute(), split), split
        self.metric.reset()
        # every process has the same results; the mean over them is what each of them says
        for name, score in self.results.scores().items():
            self.log(f"{split}/{name}", score, prog_bar=f"val/{name}" == self.monitor[0], sync_dist=True)

    def report(self, metrics_csv: Sequence[Path]) -> tuple[dict[str, float], list[Section]]:
        """Return the headline numbers and the sections of the report on the last evaluation.

        Args:
            metrics_csv: what Lightning's CSVLogger wrote, oldest first; a resumed run has several.
        """
        if self.results is None:
            raise ValueError("nothing was measured yet; run validate or test before a report.")
        return self.results.headline(), self.report_sections(metrics_csv)

    @abstractmethod
    def report_sections(self, metrics_csv: Sequence[Path]) -> list[Section]:
        """Return the sections of the report on `results`; `metrics_csv` as for `report`."""

    def evaluated(self) -> EvaluatedTable | None:
        """Return what was said about each sample of the last evaluation, or None where that is no matter of classes."""
        return None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["class_names"] = self.class_names

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names = checkpoint.get("class_names", self.class_names)
        if names != self.class_names:
            raise ValueError(
                f"the checkpoint was trained on the classes {names}, the data set has {self.class_names}; "
                "use the data set that the checkpoint was trained on, or train anew."
            )


def parameter_groups(network: nn.Module, factors: tuple[float, float] | None = None) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups: those that decay, and norms and biases that do not.

    Args:
        network: whose parameters.
        factors: None takes the network as a whole. With a factor for each layer of the backbone and one for the head
            there are two groups a layer, whose `lr_factor` is the first to the power of the number of layers behind
            it (as for fine-tuning in ULMFiT, Howard and Ruder 2018, https://arxiv.org/abs/1801.06146), and in the
            last layer, the head, the second.
    """
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    layers = [[network]] if factors is None else layers_of(network)
    for number, layer in enumerate(layers):
        decayed: list[nn.Parameter] = []
        kept: list[nn.Parameter] = []
        for module in (module for part in layer for module in part.modules()):
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad and id(parameter) not in seen:
                    seen.add(id(parameter))
                    (kept if name == "bias" or isinstance(module, NORMS) else decayed).append(parameter)
        behind = len(layers) - 1 - number
        factor = {} if factors is None else {"lr_factor": factors[0] ** behind if behind else factors[1]}
        groups += [{"params": decayed, **factor}, {"params": kept, "weight_decay": 0.0, **factor}]
    return [group for group in groups if group["params"]]
