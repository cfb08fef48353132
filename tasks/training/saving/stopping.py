"""Ctrl-C and SIGTERM: a run ends between two batches, with a checkpoint that it continues from."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from vertebra.tasks.loading.processes import Consensus
from vertebra.tasks.training.saving.checkpoints import Checkpoints, gradients_wait
from vertebra.tasks.training.saving.loop_progress import Place

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal ended the run.

    Args:
        number: of the signal.
        message: what was saved and how to continue, one sentence; empty where another process says it.
        code: for the process to exit with; None for what shells report of a signal, 128 and its number.
    """

    def __init__(self, number: int, message: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.code = 128 + number if code is None else code


class StopOnSignal(Callback):
    """Ends training where nothing is half done, and saves `last.ckpt` there.

    While training, a signal is noted and acted on when the optimizer has stepped; in a validation, whose start is
    checkpointed, after the batch. Outside of training it raises at once. A second signal has its default effect and
    kills. Several processes agree on the batch, so that a signal to one of them ends all; they finish a validation
    first. In a `with` block the signals are handled so, and after it as before.

    It must come before other callbacks, so that what those do at the start of a batch is not in the checkpoint.
    """

    def __init__(self) -> None:
        self._received = 0
        self._training = False
        self._largest = Consensus()
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
            self._largest = Consensus()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()
        if received := self._largest.now(self._received):
            self._stop(trainer, received, Place.START)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if received := self._largest.now(self._received):  # the end of the epoch before is on the disk
            self._stop(trainer, received)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        received = self._largest(self._received)
        if received and batch_idx and batch_idx % trainer.accumulate_grad_batches == 0:
            self._stop(trainer, received, Place.BETWEEN_BATCHES)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _validates_between_steps(trainer) and (received := self._largest.now(self._received)):
            self._stop(trainer, received, Place.BEFORE_VALIDATION)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        # processes have different numbers of validation batches, and cannot agree on one
        if self._received and trainer.world_size == 1 and _validates_between_steps(trainer):
            self._stop(trainer, self._received)  # the start of the validation is on the disk

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = False
        if received := self._largest.now(self._received):  # the end of the last epoch is on the disk
            self._stop(trainer, received)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._training = False

    def _begin(self) -> None:
        self._training = True
        if not self._received:
            self._install()  # Lightning has put a handler of SIGTERM in front, which hangs with several processes

    def _install(self) -> None:
        for number in SIGNALS:
            if _can_handle():
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if not self._training:
            raise Interrupted(number, f"stopped by {signal.Signals(number).name} while not training.")
        self._received = number

    def _stop(self, trainer: Trainer, number: int, unsaved: Place | None = None) -> None:
        path = ""
        for checkpoints in (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, Checkpoints)):
            if unsaved is not None:
                checkpoints.save_last_checkpoint(trainer, unsaved)
            path = checkpoints.last_model_path
        remedy = f"continue with --ckpt_path last ({path})" if path else "no last checkpoint was asked for"
        message = f"stopped by {signal.Signals(number).name} after step {trainer.global_step}; {remedy}."
        # Lightning kills the first process when one that it started exits with another code than 0
        started = isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)
        if trainer.is_global_zero:
            raise Interrupted(number, message)
        raise Interrupted(number, code=0 if started else None)


def _can_handle() -> bool:
    return threading.current_thread() is threading.main_thread()


def _validates_between_steps(trainer: Trainer) -> bool:
    fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
    return fitting and not gradients_wait(trainer)
