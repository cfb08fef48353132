"""Checkpoint callback: best checkpoint by a monitored metric, and a last checkpoint for exact resumption."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from vertebra.tasks.loading.processes import Consensus
from vertebra.tasks.training.saving.checkpoint_files import LAST, remove_partial_files
from vertebra.tasks.training.saving.loop_progress import LoopPosition, fix_loops_on_resume, write_position
from vertebra.tasks.training.saving.metrics_log import MetricsLog

PURGE_STEP = "purge_step"  # entry of a checkpoint: points in TensorBoard from this step on are logged again


class Checkpoints(ModelCheckpoint):
    """Lightning's ModelCheckpoint for `best.ckpt`, and a `last.ckpt` for bit-exact resumption.

    `last.ckpt` is written at the end of every epoch, before every validation, which may take long, and every few
    minutes within an epoch; always between optimizer steps, since accumulated gradients are not saved. While the
    monitored metric is undefined, such as AUROC with a single class, the latest epoch counts as the best.

    Args:
        every_n_minutes: minutes between checkpoints within an epoch; None for none.
        save_last: write `last.ckpt`.
        filename: name of the best checkpoint without suffix.
        enable_version_counter: number the best checkpoints instead of replacing them.
        options: options of Lightning's ModelCheckpoint.
    """

    def __init__(
        self,
        every_n_minutes: float | None = 10.0,
        save_last: bool = True,
        filename: str | None = "best",
        enable_version_counter: bool = False,
        **options: Any,
    ) -> None:
        if every_n_minutes is not None and every_n_minutes < 0:
            raise ValueError(f"every_n_minutes is {every_n_minutes}; expected a number of minutes, 0 or more, or null.")
        # our own `last.ckpt`: Lightning writes its one only if the metric improved
        super().__init__(filename=filename, enable_version_counter=enable_version_counter, save_last=False, **options)
        self.every_n_minutes = every_n_minutes
        self.saves_last = save_last
        self._position: LoopPosition | None = None  # of the hook that is saving
        self._saved_at = 0.0
        self._due: Consensus | None = None
        self._warned_undefined = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._due = Consensus()
            if trainer.is_global_zero and self.dirpath and not _is_fast_dev_run(trainer):
                remove_partial_files(Path(self.dirpath))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # resumed after early stopping had triggered, but before the process exited: do not train on
        if any(stopping.wait_count >= stopping.patience for stopping in trainer.early_stopping_callbacks):
            trainer.should_stop = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        fix_loops_on_resume(trainer)
        self._saved_at = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.every_n_minutes is None or self._due is None:
            return
        # clocks differ between processes, but saving is collective: all follow the first that is due
        due = self._due(int(time.monotonic() - self._saved_at >= 60 * self.every_n_minutes))
        if due and batch_idx and batch_idx % trainer.accumulate_grad_batches == 0:
            self.save_last_checkpoint(trainer, LoopPosition.BETWEEN_BATCHES)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if is_fitting and not has_pending_gradients(trainer):
            self.save_last_checkpoint(trainer, LoopPosition.BEFORE_VALIDATION)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with self._at(LoopPosition.BETWEEN_EPOCHS):
            super().on_train_epoch_end(trainer, pl_module)
        self.save_last_checkpoint(trainer, LoopPosition.BETWEEN_EPOCHS)

    def save_last_checkpoint(self, trainer: Trainer, position: LoopPosition) -> None:
        """Write `last.ckpt` from a hook at `position` in the training loop; a collective call."""
        if not self.saves_last or _is_fast_dev_run(trainer) or self.dirpath is None:
            return
        self.last_model_path = str(Path(self.dirpath) / LAST)
        with self._at(position):
            # here `weights_only=False` includes the optimizer; it does not concern how the file is unpickled
            trainer.save_checkpoint(self.last_model_path, weights_only=False)
        self._saved_at = time.monotonic()

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        if current is None or torch.isfinite(current):
            return super().check_monitor_top_k(trainer, current)
        if not self._warned_undefined:
            self._warned_undefined = True
            rank_zero_warn(
                f"{self.monitor} is {float(current)} after epoch {trainer.current_epoch + 1}: it is undefined on the "
                "validation split. Until it is finite, the best checkpoint is that of the latest epoch; monitor "
                "another metric with --checkpoint.monitor, or add samples of missing classes to the validation split."
            )
        # Lightning would keep the first undefined checkpoint forever, since no comparison with NaN is true
        return not any(score.isfinite() for score in self.best_k_models.values())

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        is_logged = self._position in (LoopPosition.BETWEEN_BATCHES, LoopPosition.BETWEEN_EPOCHS)
        if self._position is not None:
            write_position(checkpoint["loops"]["fit_loop"], self._position)
        # TensorBoard discards whole steps: where only the validation is repeated, the losses of its step must stay
        checkpoint[PURGE_STEP] = step if is_logged else step + 1
        for log in (logger for logger in trainer.loggers if isinstance(logger, MetricsLog)):
            if is_logged:
                # by step, not by row count: the epoch's row is still to come, and callbacks may have logged the next
                # step already
                checkpoint["logged_before"] = step
            else:
                checkpoint["logged_rows"] = log.num_rows

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            for log in (logger for logger in trainer.loggers if isinstance(logger, MetricsLog)):
                log.continue_from(checkpoint.get("logged_before"), checkpoint.get("logged_rows"))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old, new = state_dict.get("dirpath"), self.dirpath
        if old and new and old != new and Path(new, Path(state_dict["best_model_path"]).name).is_file():
            state_dict = _relocate(state_dict, str(old), str(new))  # the run folder was moved or renamed
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]  # saved, but not restored, by Lightning

    @contextmanager
    def _at(self, position: LoopPosition) -> Iterator[None]:
        self._position = position
        try:
            yield
        finally:
            self._position = None


def _is_fast_dev_run(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))


def has_pending_gradients(trainer: Trainer) -> bool:
    """Return whether gradients of the last batch are still being accumulated, which checkpoints do not contain."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return batches % trainer.accumulate_grad_batches != 0 and batches != trainer.num_training_batches


def _relocate(state: Any, old: str, new: str) -> Any:
    """Return a nested state with all paths below the folder `old` moved to the folder `new`."""
    if isinstance(state, dict):
        return {_relocate(key, old, new): _relocate(value, old, new) for key, value in state.items()}
    if isinstance(state, str) and (state == old or Path(old) in Path(state).parents):
        return str(Path(new) / Path(state).relative_to(old))
    return state
