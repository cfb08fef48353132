"""Graceful stop on SIGINT and SIGTERM, with a checkpoint for exact resumption."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from vertebra.tasks.loading.processes import Consensus
from vertebra.tasks.training.saving.checkpoints import Checkpoints, has_pending_gradients
from vertebra.tasks.training.saving.loop_progress import LoopPosition

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Run ended by a signal; not an `Exception`, so that no handler for errors catches it.

    Args:
        number: signal number.
        message: saved checkpoint and how to resume, in a sentence; empty if another process reports it.
        code: exit code of the process; by default 128 plus the signal number, as in shells.
    """

    def __init__(self, number: int, message: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.code = 128 + number if code is None else code


class StopOnSignal(Callback):
    """Ends training between optimizer steps on a signal, and saves `last.ckpt`.

    During training, the signal is recorded and takes effect after the optimizer step; during validation, whose start is
    already checkpointed, after the batch. Outside of training it raises at once. A second signal has its default effect
    and kills the process. In distributed training all processes agree on the batch, so that a signal to any of them
    stops all; a running validation is completed first. As a context manager it restores the previous handlers.

    It must precede other callbacks, so that their actions at the start of a batch are not in the checkpoint.
    """

    def __init__(self) -> None:
        self._received = 0  # signal number, or 0
        self._training = False
        self._consensus = Consensus()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopOnSignal:
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self._install()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            if _can_handle():
                signal.signal(number, handler)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._consensus = Consensus()  # its collectives need the process group, which exists from here on

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()
        if received := self._consensus.now(self._received):
            self._stop(trainer, received, LoopPosition.START)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if received := self._consensus.now(self._received):  # the end of the previous epoch is already saved
            self._stop(trainer, received)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        received = self._consensus(self._received)
        if received and batch_idx and batch_idx % trainer.accumulate_grad_batches == 0:
            self._stop(trainer, received, LoopPosition.BETWEEN_BATCHES)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _validates_between_steps(trainer) and (received := self._consensus.now(self._received)):
            self._stop(trainer, received, LoopPosition.BEFORE_VALIDATION)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        # processes may have different numbers of validation batches, and cannot agree on one
        if self._received and trainer.world_size == 1 and _validates_between_steps(trainer):
            self._stop(trainer, self._received)  # the start of the validation is already saved

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = False
        if received := self._consensus.now(self._received):  # the end of the last epoch is already saved
            self._stop(trainer, received)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._training = False

    def _begin(self) -> None:
        self._training = True
        if not self._received:
            self._install()  # again: Lightning has installed its own SIGTERM handler, which hangs under DDP

    def _install(self) -> None:
        for number in SIGNALS:
            if _can_handle():
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        for handled in SIGNALS:  # a second signal kills
            signal.signal(handled, signal.SIG_DFL)
        if not self._training:
            raise Interrupted(number, f"stopped by {signal.Signals(number).name} while not training.")
        self._received = number

    def _stop(self, trainer: Trainer, number: int, unsaved: LoopPosition | None = None) -> None:
        """Raise `Interrupted`, after saving `last.ckpt` if the position `unsaved` is given."""
        path = ""
        for checkpoints in (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, Checkpoints)):
            if unsaved is not None:
                checkpoints.save_last_checkpoint(trainer, unsaved)
            path = checkpoints.last_model_path
        remedy = f"continue with --ckpt_path last ({path})" if path else "saving of the last checkpoint is disabled"
        message = f"stopped by {signal.Signals(number).name} after step {trainer.global_step}; {remedy}."
        # Lightning kills rank 0 if a process that it launched itself exits with another code than 0
        is_launched = isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)
        if trainer.is_global_zero:
            raise Interrupted(number, message)
        raise Interrupted(number, code=0 if is_launched else None)


def _can_handle() -> bool:
    # Python allows signal handlers in the main thread only
    return threading.current_thread() is threading.main_thread()


def _validates_between_steps(trainer: Trainer) -> bool:
    is_fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
    return is_fitting and not has_pending_gradients(trainer)
