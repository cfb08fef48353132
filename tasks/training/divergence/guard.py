"""Stops a training whose losses, gradients or weights are not finite, or leaves such steps out."""

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
    listed,
    nonfinite_names,
    nonfinite_state,
    refuse_nonfinite_weights,
    weights_of,
)
from vertebra.tasks.training.divergence.replay_file import write_replay
from vertebra.tasks.training.divergence.watch import ReadBatch, Watch, WatchedBatch
from vertebra.tasks.training.saving.rollback import Rollback, leaves_out

OnDivergence = Literal["stop", "skip"]

SKIPPED_STEPS = "train/skipped_steps"  # as it is logged

EVERY = 25  # batches between two readings of a GPU, so that no fault gets older than 50 steps
MOST_SKIPPED = 25  # steps in a row: where none is finite any more, leaving out the next cannot help
MOST_WARNED = 10  # steps that are warned of one by one
LEAST_SCALE = 2.0**-10  # of losses in float16: 26 halvings in a row from its start


class DivergenceGuard(Callback):
    """Watches every training step, and every checkpoint before it is written.

    Losses and gradients stay on the device until they are read: every `every` batches, at the ends of epochs, and
    before anything is validated or saved. So no step waits. From the first bad step on a fused optimizer leaves the
    weights as they were, and `vertebra replay` repeats that step. In float16 the scaling of the loss leaves out steps
    whose gradients overflow, as it is meant to; there the losses are watched, and that the scale does not vanish.

    With `skip`, a step (with all batches that it accumulates) in which any loss or the gradient is not finite changes
    no weight, no state of the optimizer and no buffer, on any process; the learning rate goes on.

    Args:
        on_divergence: `stop` or `skip`.
        every: batches between two readings; by default `EVERY` on a GPU, and 1 on a CPU, where reading costs nothing.

    Attributes:
        skipped: steps that were left out so far.
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
        remedy = "Start from other weights, or from a checkpoint that was written before the fault."
        refuse_nonfinite_weights(weights_of(pl_module), "before the first step", remedy)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch = Watch(pl_module.device, self.skips)
        self._rollback = None
        if self.every is None:
            self.every = 1 if pl_module.device.type == "cpu" else EVERY
        if self.skips:
            for optimizer in trainer.optimizers:
                optimizer.register_step_post_hook(self._after_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        place = (trainer.global_step, trainer.current_epoch, batch_idx)
        self._watch.begin(WatchedBatch(*place, pl_module.sample_names(batch)))
        if self.skips and self._rollback is None:
            optimizer = trainer.optimizers[0]
            whole = _scaler(trainer) is not None or not leaves_out(optimizer)
            self._rollback = Rollback(pl_module, optimizer, whole)

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        losses = pl_module.losses_of_step or {"loss": loss}
        self._watch.add({f"train/{name}": value for name, value in losses.items()})

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        scales = _scaler(trainer) is not None
        if not scales:
            self._watch.add_gradient(optimizer)
        if self.skips and dist.is_available() and dist.is_initialized():
            dist.all_reduce(bad := self._watch.bad.int(), dist.ReduceOp.MAX)
            self._watch.bad = bad.bool()
        if not self.skips:
            self._read_if_due(trainer, pl_module)  # where every batch is read, before the step
        if not scales and leaves_out(optimizer):
            optimizer.found_inf = self._watch.bad.float()  # type: ignore[attr-defined]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._read_if_due(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._read(trainer, pl_module)
        if self.skips:
            pl_module.log(SKIPPED_STEPS, float(self.skipped), sync_dist=True)  # the same on every process

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._read(trainer, pl_module)
            _refuse_state(trainer, weights_of(pl_module))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._read(trainer, pl_module)
        # not what loops and callbacks keep, where infinity may be the best score so far
        kept = {name: value for name, value in checkpoint.items() if name not in ("callbacks", "loops")}
        _refuse_state(trainer, dict(_tensors(kept)))

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        assert self._rollback is not None
        self._rollback.undo(self._watch.bad)
        self._rollback = None
        self._watch.end_step()

    def _read_if_due(self, trainer: Trainer, module: Any) -> None:
        if len(self._watch) >= (self.every or 1):
            self._read(trainer, module)

    def _read(self, trainer: Trainer, module: Any) -> None:
        """Fetch what the device has found, and act on it; every process must call this."""
        if not (batches := self._watch.read()):
            return
        scaler = _scaler(trainer)
        if scaler is not None and (scale := scaler.get_scale()) < LEAST_SCALE:
            raise Diverged(
                f"{batches[-1].watched.place()}: the scale of the loss in float16 fell to {scale:g}, as no step had a "
                f"finite gradient; expected is one of at least {LEAST_SCALE:g}. Use --trainer.precision bf16-mixed."
            )
        if self.skips:
            self._count(batches, trainer, module)
            return
        first = next((batch for batch in batches if batch.fault()), None)
        if trainer.strategy.reduce_boolean_decision(first is not None, all=False):
            raise Diverged(_verdict(first, trainer, module))

    def _count(self, batches: list[ReadBatch], trainer: Trainer, module: Any) -> None:
        """Count and name the steps that were left out, and stop where there have been too many in a row."""
        steps: dict[int, list[ReadBatch]] = {}
        for batch in batches:
            steps.setdefault(batch.watched.step, []).append(batch)
        for of_step in steps.values():
            if not of_step[0].left_out:
                self._in_a_row = 0
                continue
            self.skipped += 1
            self._in_a_row += 1
            first = next((batch for batch in of_step if batch.fault()), None)  # none where another process has it
            if self._in_a_row >= MOST_SKIPPED:
                raise Diverged(_verdict(first, trainer, module, f"{MOST_SKIPPED} steps in a row were left out; at "))
            if first is not None and self.skipped <= MOST_WARNED:
                files = listed(first.watched.files)
                warnings.warn(f"left out {first.watched.place()}: {first.fault()}, on {files}.", stacklevel=2)


def _verdict(first: ReadBatch | None, trainer: Trainer, module: Any, before: str = "") -> str:
    """Return what is wrong with the first bad batch of all processes; the process that has it writes it to a file.

    Args:
        first: bad batch of this process; None if it has none.
        trainer: that trains.
        module: that is trained.
        before: what the sentence starts with.
    """
    where = [] if first is None else [(first.watched.epoch, first.watched.batch, trainer.global_rank)]
    is_mine = min(all_gather(where))[2] == trainer.global_rank
    return all_gather([before + _sentence(first, trainer, module)] if is_mine and first is not None else [])[0]


def _sentence(first: ReadBatch, trainer: Trainer, module: Any) -> str:
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    text = (
        f"{first.watched.place()}: {first.fault()}, the first that is not finite, on {listed(first.watched.files)}. "
        f"Lower the learning rate ({rate:g} at this step), clip the gradients, or look for what is wrong with these "
        "files; --model.on_divergence skip leaves such steps out."
    )
    if (file := write_replay(first, trainer, module)) is not None:
        text += f" `vertebra replay {file}` repeats the step."
    return text + _last_checkpoint(trainer)


def _last_checkpoint(trainer: Trainer) -> str:
    kept = trainer.checkpoint_callback
    folder, best = getattr(kept, "dirpath", None), getattr(kept, "best_model_path", None)
    files = [*([Path(folder) / "last.ckpt"] if folder else []), *([Path(best)] if best else [])]
    found = next((file for file in files if file.is_file()), None)
    return "" if found is None else f" The last finite checkpoint is {found}."


def _refuse_state(trainer: Trainer, tensors: Mapping[str, Tensor]) -> None:
    """Raise on every process where on any of them weights or other state are not finite."""
    names = nonfinite_names(tensors)
    if trainer.strategy.reduce_boolean_decision(bool(names), all=False):
        remedy = f"Lower the learning rate, or clip the gradients.{_last_checkpoint(trainer)}"
        raise Diverged(nonfinite_state(names, len(tensors), f"after step {trainer.global_step - 1}", remedy))


def _scaler(trainer: Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _tensors(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested containers with the path to each."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _tensors(value, f"{name}.{number}")
