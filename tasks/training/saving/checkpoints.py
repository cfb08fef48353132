"""When a run is checkpointed: the last state always, the best one by the monitored metric."""

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
from vertebra.tasks.training.saving.checkpoint_files import LAST, remove_parts
from vertebra.tasks.training.saving.loop_progress import Place, continue_at_place, write_place
from vertebra.tasks.training.saving.metrics_log import MetricsLog


class Checkpoints(ModelCheckpoint):
    """Lightning's ModelCheckpoint for `best.ckpt`, and a `last.ckpt` that a run continues from bit for bit.

    `last.ckpt` is written at the end of every epoch, before every validation, which may take long, and every few
    minutes within an epoch; always between two optimizer steps, since accumulated gradients are not saved. A metric
    that the data at hand do not define, such as AUROC of one class, makes the last epoch the best one until it is
    defined.

    Args:
        every_n_minutes: minutes of training between two checkpoints within an epoch; None for none.
        save_last: keep `last.ckpt`.
        filename: name of the best checkpoint without its ending.
        enable_version_counter: number the best checkpoints instead of replacing them.
        options: of Lightning's ModelCheckpoint.
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
            raise ValueError(f"every_n_minutes is {every_n_minutes}; it is a number of minutes, 0 or more, or null.")
        # Lightning writes last.ckpt only where the metric improved
        super().__init__(filename=filename, enable_version_counter=enable_version_counter, save_last=False, **options)
        self.every_n_minutes = every_n_minutes
        self.keeps_last = save_last
        self._place: Place | None = None
        self._saved_at = 0.0
        self._due: Consensus | None = None
        self._warned_undefined = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._due = Consensus()
            if trainer.is_global_zero and self.dirpath and not _trial(trainer):
                remove_parts(Path(self.dirpath))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a run that early stopping has ended, and that was killed before it exited, has ended
        if any(stopping.wait_count >= stopping.patience for stopping in trainer.early_stopping_callbacks):
            trainer.should_stop = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        continue_at_place(trainer)
        self._saved_at = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.every_n_minutes is None or self._due is None:
            return
        due = self._due(int(time.monotonic() - self._saved_at >= 60 * self.every_n_minutes))
        if due and batch_idx and batch_idx % trainer.accumulate_grad_batches == 0:
            self.save_last_checkpoint(trainer, Place.BETWEEN_BATCHES)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and not gradients_wait(trainer):
            self.save_last_checkpoint(trainer, Place.BEFORE_VALIDATION)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with self._at(Place.BETWEEN_EPOCHS):
            super().on_train_epoch_end(trainer, pl_module)
        self.save_last_checkpoint(trainer, Place.BETWEEN_EPOCHS)

    def save_last_checkpoint(self, trainer: Trainer, place: Place) -> None:
        """Write `last.ckpt` as of a hook at `place`; every process must call this."""
        if not self.keeps_last or _trial(trainer) or self.dirpath is None:
            return
        self.last_model_path = str(Path(self.dirpath) / LAST)
        with self._at(place):
            trainer.save_checkpoint(self.last_model_path, weights_only=False)  # with the optimizer; not a way to load
        self._saved_at = time.monotonic()

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        if current is None or torch.isfinite(current):
            return super().check_monitor_top_k(trainer, current)
        if not self._warned_undefined:
            self._warned_undefined = True
            rank_zero_warn(
                f"{self.monitor} is {float(current)} after epoch {trainer.current_epoch}: the validation split does "
                "not define it. Until it is finite, the best checkpoint is the one of the last epoch; monitor another "
                "metric with --checkpoint.monitor, or add to the validation split what is missing."
            )
        # Lightning would keep the first undefined one for ever, as nothing is better than it
        return not any(score.isfinite() for score in self.best_k_models.values())

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._place is not None:
            write_place(checkpoint["loops"]["fit_loop"], self._place)
        for log in (logger for logger in trainer.loggers if isinstance(logger, MetricsLog)):
            if self._place in (Place.BETWEEN_BATCHES, Place.BETWEEN_EPOCHS):
                # with what is yet to be logged of the epoch, and without what callbacks have logged of the coming step
                checkpoint["logged_before"] = trainer.fit_loop.epoch_loop._batches_that_stepped
            else:
                checkpoint["logged_rows"] = log.num_rows

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            for log in (logger for logger in trainer.loggers if isinstance(logger, MetricsLog)):
                log.continue_from(checkpoint.get("logged_before"), checkpoint.get("logged_rows"))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        was, here = state_dict.get("dirpath"), self.dirpath
        if was and here and was != here and Path(here, Path(state_dict["best_model_path"]).name).is_file():
            state_dict = _moved(state_dict, str(was), str(here))  # the folder of the run has another name now
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]  # saved and forgotten by Lightning

    @contextmanager
    def _at(self, place: Place) -> Iterator[None]:
        self._place = place
        try:
            yield
        finally:
            self._place = None


def _trial(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))


def gradients_wait(trainer: Trainer) -> bool:
    """Return whether the batch that has just ended left gradients to accumulate, which no checkpoint holds."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return batches % trainer.accumulate_grad_batches != 0 and batches != trainer.num_training_batches


def _moved(state: Any, was: str, here: str) -> Any:
    """Return a state in which every path below the folder `was` is one below `here`."""
    if isinstance(state, dict):
        return {_moved(key, was, here): _moved(value, was, here) for key, value in state.items()}
    if isinstance(state, str) and (state == was or Path(was) in Path(state).parents):
        return str(Path(here) / Path(state).relative_to(was))
    return state
