"""Base LightningModule: optimizer, schedule, memory format, checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from vertebra.backbones.cpu_convolutions import replace_convolutions
from vertebra.backbones.narrowing import narrow
from vertebra.backbones.weights import differences
from vertebra.tasks.loading.resumable_loader import ResumableLoader
from vertebra.tasks.reporting.report import Picture
from vertebra.tasks.training.clipping import clip_gradients
from vertebra.tasks.training.compiling import (
    CACHE,
    CompileMode,
    compile_parts,
    keep_compiled_code,
    plan_compiling,
    run_uncompiled_on_failure,
)
from vertebra.tasks.training.data_wait import DataWait
from vertebra.tasks.training.distillation.agreement import agreed_order
from vertebra.tasks.training.distillation.cost import TeacherCost
from vertebra.tasks.training.distillation.teacher import Teacher
from vertebra.tasks.training.divergence.finite_weights import FiniteWeights
from vertebra.tasks.training.divergence.guard import DivergenceGuard, OnDivergence
from vertebra.tasks.training.evaluation import EvaluatedModule
from vertebra.tasks.training.folded_norms import FoldedNorms
from vertebra.tasks.training.memory_order import step_in_memory_order
from vertebra.tasks.training.parameter_groups import parameter_groups
from vertebra.tasks.training.schedules import Cosine, Schedule
from vertebra.tasks.training.single_sample import SingleSampleCheck
from vertebra.tasks.training.step_seed import StepSeed


class TaskModule(EvaluatedModule):
    """Base LightningModule of every task: optimizer, schedule, checkpoints.

    A task adds `training_step`, and what its evaluation requires. Its constructor passes these arguments on as
    `**training`. A module never reaches for its data module: what a sample belongs to (its name, its group) travels in
    the batch, and what a loss needs from the training set comes by `prepare`.

    Args:
        network: the network of the task.
        class_names: the K classes, in the order of their labels.
        optimizer: class and arguments of the optimizer; weight decay is not applied to norms and biases.
        schedule: factor on the learning rate over the training; warmup and cosine annealing by default.
        channels_last: whether weights and images are in channels-last memory format, in which convolutions are fastest.
        compile_mode: mode of `torch.compile` for training; `reduce-overhead` replays CUDA graphs. `auto` compiles on a
            CUDA device if the run has 5,000 steps or more, and says so; what fails to compile runs as it is. None does
            not compile, which takes a minute and longer, and needs a C++ compiler on a CPU.
        layer_decay: ratio of the learning rate of each layer to that of the next, from the head down to the stem; 1
            for one rate. Layers are those of `vertebra.tasks.training.layers.layer_groups`.
        head_lr_mult: factor on the learning rate of the head.
        on_divergence: reaction to a step with a non-finite loss or gradient: `stop` the run, or `skip` the step, which
            then changes no weight, momentum or norm statistics, and is counted.
        widths: channels of the layers that `vertebra prune` has narrowed, by name, see `vertebra.backbones.narrowing`;
            None for a network as it is built.
        teacher: run whose network this one learns from by distillation: a run folder, a checkpoint or a shared folder.
            A path only, which the command line loads for `learn_from`; from Python, call that.

    Attributes:
        teacher: the network that this one learns from, None without distillation.
        teacher_path: the argument `teacher`.
        epoch: of the checkpoint that was loaded, from 1 on; None for weights that are trained on.
        by_layer: whether the optimizer has parameter groups for each layer; set before it is created.
        losses_of_step: the losses of the last training step, as given to `log_losses`.
        inputs_of_step: what the network was given in this training step, augmented, mixed and normalized, and the
            targets; None between two steps.
    """

    def __init__(
        self,
        network: nn.Module,
        class_names: Sequence[str],
        optimizer: OptimizerCallable = lambda groups: torch.optim.SGD(
            groups, lr=0.02, momentum=0.9, weight_decay=1e-4, fused=True
        ),
        schedule: Schedule | None = None,
        channels_last: bool = True,
        compile_mode: CompileMode | None = "auto",
        layer_decay: float = 1.0,
        head_lr_mult: float = 1.0,
        on_divergence: OnDivergence = "stop",
        widths: dict[str, list[int]] | None = None,
        teacher: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay is {layer_decay}; it is a factor above 0 and up to 1 (no decay).")
        if head_lr_mult <= 0:
            raise ValueError(f"head_lr_mult is {head_lr_mult}; it is a factor on the learning rate, above 0.")
        if widths:
            narrow(network, widths)
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
        self.teacher_path = teacher
        self.teacher: Teacher | None = None
        self.losses_of_step: dict[str, Tensor] = {}
        self.inputs_of_step: tuple[Any, Any] | None = None
        self.by_layer = layer_decay < 1 or head_lr_mult != 1
        self.epoch: int | None = None

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
        steps = self.trainer.estimated_stepping_batches
        plan = plan_compiling(self.compile_mode, self.device.type, steps)
        if plan.message:
            rank_zero_info(plan.message)
        if plan.mode:
            keep_compiled_code(Path(self.trainer.default_root_dir).parent / CACHE)
            if self.compile_mode == "auto":  # which is a choice of ours, and must not end a run
                run_uncompiled_on_failure()
            compile_parts(self.network, mode=plan.mode)
            if self.teacher is not None:
                compile_parts(self.teacher.network, mode=plan.mode)

    def learn_from(self, teacher: TaskModule, source: str) -> None:
        """Add the distillation from a trained module of the same task to the training; the module is not changed.

        Args:
            teacher: with the same classes and the same normalization of its input.
            source: where it is from, for messages.

        Raises:
            ValueError: the two differ in what has to be equal.
        """
        order = agreed_order(self, teacher, source)
        network = copy.deepcopy(teacher.network)
        self.teacher = Teacher(network, source, order)
        for weight in network.parameters():
            weight.data = self.to_memory_format(weight.data)

    def on_train_start(self) -> None:
        self.prepare(getattr(self.trainer.train_dataloader, "dataset", None))

    def prepare(self, dataset: Any) -> None:
        """Take from the training set what a loss needs before the first step, such as how often a class occurs.

        Args:
            dataset: of the training loader, None where that has none.
        """

    def configure_optimizers(self) -> Any:
        factors = (self.layer_decay, self.head_lr_mult) if self.by_layer else None
        optimizer = step_in_memory_order(self.make_optimizer(parameter_groups(self.network, factors)))
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_factor", 1.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def scheduler(self, optimizer: Optimizer) -> LambdaLR:
        """Return the scheduler of an optimizer, to be called after each step.

        Raises:
            ValueError: the training has no end.
        """
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ValueError(
                "the learning-rate schedule needs an end of training; set --trainer.max_epochs or --trainer.max_steps."
            )
        return LambdaLR(optimizer, lambda step: self.schedule((step + 1) / max(1, total)))

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
            cost = [] if self.teacher is None else [TeacherCost(self.teacher)]
            return [DivergenceGuard(self.on_divergence), SingleSampleCheck(), StepSeed(), DataWait(), *cost]
        if stage == TrainerFn.PREDICTING:
            return [FiniteWeights(), FoldedNorms(), self.prediction_writer()]
        return [FiniteWeights(), *([FoldedNorms()] if stage == TrainerFn.TESTING else [])]

    def training_pictures(self, batch: Any, count: int) -> list[Picture]:
        """Draw `inputs_of_step` with their targets; it may wait for the device.

        Args:
            batch: of the step.
            count: of samples at most.
        """
        return []

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
