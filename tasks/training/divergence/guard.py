"""Divergence guard: stops training at, or skips, steps with non-finite losses or gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from vertebra.tasks.loading.processes import all_gather
from vertebra.tasks.training.divergence.finite import (
    Diverged,
    check_finite_weights,
    join_names,
    named_weights,
    nonfinite_message,
    nonfinite_names,
)
from vertebra.tasks.training.divergence.replay_file import write_replay
from vertebra.tasks.training.divergence.watch import ReadBatch, Watch, WatchedBatch
from vertebra.tasks.training.saving.rollback import Rollback, can_skip_step

OnDivergence = Literal["stop", "skip"]

SKIPPED_STEPS = "train/skipped_steps"  # log key

READ_INTERVAL = 25  # batches between two reads from a GPU; a fault is reported within 50 steps
MAX_SKIPPED_IN_A_ROW = 25  # skipped steps leave the weights unchanged, so that the next ones will not be finite either
MAX_WARNINGS = 10  # skipped steps with a warning each; the others are only counted
MIN_LOSS_SCALE = 2.0**-10  # in float16: 26 halvings in a row from PyTorch's initial 2^16


class DivergenceGuard(Callback):
    """Checks losses and gradients of every training step, and all tensors of a checkpoint before it is written.

    Losses and gradients stay on the device until they are read every `every` batches, at the end of an epoch, and
    before validation and saving, so that no step synchronizes. From the first bad step on a fused optimizer does not
    change the weights, and `vertebra replay` repeats that step. In float16, loss scaling skips steps with overflowing
    gradients by design; there only the losses are checked, and that the scale does not vanish.

    With `skip`, a step (including all accumulated batches) with a non-finite loss or gradient changes no weights,
    optimizer state or buffers on any process; the learning rate schedule advances.

    Args:
        on_divergence: `stop` or `skip`.
        every: batches between two reads; by default `READ_INTERVAL` on a GPU and 1 on a CPU, where reading is free.

    Attributes:
        skipped: number of steps skipped so far.
    """

    def __init__(self, on_divergence: OnDivergence = "stop", every: int | None = None) -> None:
        self.skips = on_divergence == "skip"
        self.every = every
        self.skipped = 0
        self._in_a_row = 0
        self._watch = Watch(torch.device("cpu"), self.skips)
        self._rollback: Rollback | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        remedy = "Start from other weights, or from a checkpoint written before the training diverged."
        check_finite_weights(named_weights(pl_module), "before the first step", remedy)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch = Watch(pl_module.device, self.skips)
        self._rollback = None
        if self.every is None:
            self.every = 1 if pl_module.device.type == "cpu" else READ_INTERVAL
        if self.skips:
            for optimizer in trainer.optimizers:
                optimizer.register_step_post_hook(self._after_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        position = (trainer.global_step, trainer.current_epoch, batch_idx)
        self._watch.begin(WatchedBatch(*position, pl_module.sample_names(batch)))
        # one snapshot per step, taken before its first accumulated batch changes the buffers
        if self.skips and self._rollback is None:
            optimizer = trainer.optimizers[0]
            # a gradient scaler sets `found_inf` itself, from the gradients alone
            include_weights = _scaler(trainer) is not None or not can_skip_step(optimizer)
            self._rollback = Rollback(pl_module, optimizer, include_weights)

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        losses = pl_module.losses_of_step or {"loss": loss}
        self._watch.add({f"train/{name}": value for name, value in losses.items()})

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        has_scaler = _scaler(trainer) is not None
        if not has_scaler:
            self._watch.add_gradient(optimizer)
        # losses differ between processes: all of them must skip, or their weights would drift apart
        if self.skips and dist.is_available() and dist.is_initialized():
            dist.all_reduce(bad := self._watch.bad.int(), dist.ReduceOp.MAX)
            self._watch.bad = bad.bool()
        if not self.skips:
            self._read_if_due(trainer, pl_module)  # with `every=1`, before the step changes the weights
        if not has_scaler and can_skip_step(optimizer):
            optimizer.found_inf = self._watch.bad.float()  # type: ignore[attr-defined]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._read_if_due(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._read(trainer, pl_module)
        if self.skips:
            pl_module.log(SKIPPED_STEPS, float(self.skipped), sync_dist=True)  # equal on all processes

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._read(trainer, pl_module)
            _check_finite_state(trainer, named_weights(pl_module))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._read(trainer, pl_module)
        # callbacks and loops may contain infinity, such as the initial best score
        state = {name: value for name, value in checkpoint.items() if name not in ("callbacks", "loops")}
        _check_finite_state(trainer, dict(_tensors(state)))

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        assert self._rollback is not None
        self._rollback.undo(self._watch.bad)
        self._rollback = None
        self._watch.end_step()

    def _read_if_due(self, trainer: Trainer, module: Any) -> None:
        if len(self._watch) >= (self.every or 1):
            self._read(trainer, module)

    def _read(self, trainer: Trainer, module: Any) -> None:
        """Read the recorded values from the device and act on them; a collective call."""
        if not (batches := self._watch.read()):
            return
        scaler = _scaler(trainer)
        if scaler is not None and (scale := scaler.get_scale()) < MIN_LOSS_SCALE:
            raise Diverged(
                f"{batches[-1].watched.position()}: the loss scale in float16 fell to {scale:g}, since no step had a "
                f"finite gradient; expected at least {MIN_LOSS_SCALE:g}. Use --trainer.precision bf16-mixed."
            )
        if self.skips:
            self._count(batches, trainer, module)
            return
        first = next((batch for batch in batches if batch.fault()), None)
        if trainer.strategy.reduce_boolean_decision(first is not None, all=False):
            raise Diverged(_divergence_message(first, trainer, module))

    def _count(self, batches: list[ReadBatch], trainer: Trainer, module: Any) -> None:
        """Count skipped steps and warn about them; raise after too many in a row."""
        steps: dict[int, list[ReadBatch]] = {}
        for batch in batches:
            steps.setdefault(batch.watched.step, []).append(batch)
        for accumulated in steps.values():
            if not accumulated[0].skipped:
                self._in_a_row = 0
                continue
            self.skipped += 1
            self._in_a_row += 1
            first = next((batch for batch in accumulated if batch.fault()), None)  # None if on another process
            if self._in_a_row >= MAX_SKIPPED_IN_A_ROW:
                prefix = f"{MAX_SKIPPED_IN_A_ROW} steps in a row were skipped; at "
                raise Diverged(_divergence_message(first, trainer, module, prefix))
            if first is not None and self.skipped <= MAX_WARNINGS:
                files = join_names(first.watched.files)
                warnings.warn(f"skipped {first.watched.position()}: {first.fault()}, on {files}.", stacklevel=2)


def _divergence_message(first: ReadBatch | None, trainer: Trainer, module: Any, prefix: str = "") -> str:
    """Return the error message about the first bad batch of all processes; its process writes the replay file.

    Args:
        first: first bad batch of this process, or None.
        trainer: the trainer.
        module: the trained module.
        prefix: beginning of the message.
    """
    positions = [] if first is None else [(first.watched.epoch, first.watched.batch, trainer.global_rank)]
    is_owner = min(all_gather(positions))[2] == trainer.global_rank
    return all_gather([prefix + _describe(first, trainer, module)] if is_owner and first is not None else [])[0]


def _describe(first: ReadBatch, trainer: Trainer, module: Any) -> str:
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    text = (
        f"{first.watched.position()}: {first.fault()}, the first non-finite value, on "
        f"{join_names(first.watched.files)}. Lower the learning rate ({rate:g} at this step), "
    )
    # neither is there where a module takes several steps in one
    if module.automatic_optimization:
        text += "clip the gradients, or check these files; --model.on_divergence skip skips such steps."
    else:
        text += "or check these files."
    if (file := write_replay(first, trainer, module)) is not None:
        text += f" `vertebra replay {file}` repeats the step."
    return text + _last_checkpoint(trainer)


def _last_checkpoint(trainer: Trainer) -> str:
    callback = trainer.checkpoint_callback
    folder, best = getattr(callback, "dirpath", None), getattr(callback, "best_model_path", None)
    files = [*([Path(folder) / "last.ckpt"] if folder else []), *([Path(best)] if best else [])]
    file = next((file for file in files if file.is_file()), None)
    return "" if file is None else f" The last finite checkpoint is {file}."


def _check_finite_state(trainer: Trainer, tensors: Mapping[str, Tensor]) -> None:
    """Raise on all processes if weights or other state are not finite on any of them."""
    names = nonfinite_names(tensors)
    if trainer.strategy.reduce_boolean_decision(bool(names), all=False):
        remedy = f"Lower the learning rate, or clip the gradients.{_last_checkpoint(trainer)}"
        raise Diverged(nonfinite_message(names, len(tensors), f"after step {trainer.global_step - 1}", remedy))


def _scaler(trainer: Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _tensors(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested containers with their dotted paths."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from _tensors(value, f"{name}.{i}")
