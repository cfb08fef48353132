"""Progress of a training: a bar on terminals and a line for each epoch, without waiting for the device in each step."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme
from lightning.pytorch.trainer.states import TrainerFn
from rich.progress import BarColumn

from vertebra.tasks.loading.resumable_loader import ResumableLoader
from vertebra.tasks.training.module import TaskModule

REFRESH_SECONDS = 0.5  # between two reads of the metrics; faster cannot be read by eye


class TrainingClock:
    """Speed of a training, its wait for data, and the time that is left, from numbers that the host has.

    Validation counts for the time that is left, not for the speed.

    Args:
        things: what the samples are, in the plural.
    """

    def __init__(self, things: str = "images") -> None:
        self._things = things
        self._began = self._epoch_began = self._validation_began = time.monotonic()
        self._first_step = self._samples = 0
        self._waited = self._validated = 0.0
        self._total = float("inf")

    def start(self, step: int, total: float) -> None:
        """Begin a training at a step of so many."""
        self._began, self._first_step, self._total = time.monotonic(), step, total

    def start_epoch(self) -> None:
        """Begin an epoch, for which speed and wait are given."""
        self._epoch_began = time.monotonic()
        self._samples, self._waited, self._validated = 0, 0.0, 0.0

    def step(self, samples: int, waited: float | None) -> None:
        """Count a step.

        Args:
            samples: of its batches on all devices.
            waited: seconds that it waited for its batch; None where that is unknown.
        """
        self._samples += samples
        self._waited += waited or 0.0

    def pause(self) -> None:
        """Begin a validation."""
        self._validation_began = time.monotonic()

    def resume(self) -> None:
        """End a validation."""
        self._validated += time.monotonic() - self._validation_began

    def read(self, step: int, device: torch.device) -> dict[str, str]:
        """Return what is shown, by name.

        Args:
            step: number of steps since the beginning of the training, also of one that was resumed.
            device: of the network.
        """
        now = time.monotonic()
        seconds = max(now - self._epoch_began - self._validated, 1e-9)
        shown = {}
        if self._samples:
            shown = {
                f"{self._things}/s": f"{self._samples / seconds:.3g}",
                "data wait": f"{self._waited / seconds:.0%}",
            }
        if device.type == "cuda":  # counted by the allocator on the host
            shown["GPU memory"] = f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
        if step > self._first_step and self._total < float("inf"):
            left = (now - self._began) * (self._total - step) / (step - self._first_step)
            shown["ETA"] = str(timedelta(seconds=round(max(left, 0.0))))
        return shown


def filter_names(metrics: dict[str, Any], has_validated: bool) -> dict[str, Any]:
    """Leave out the number of the folder of logs, and the scores of a sanity check, which are those of no epoch."""
    return {
        name: value
        for name, value in metrics.items()
        if name != "v_num" and (has_validated or not name.startswith("val/"))
    }


class ThrottledProgressBar(RichProgressBar):
    """Lightning's progress bar, with training metrics refreshed twice a second instead of at every step.

    Reading a loss copies it to the host, which blocks until the GPU has computed it and leaves the GPU idle meanwhile.
    Epochs count from 1. Each leaves a line; where the output is no terminal, that is all.
    """

    def __init__(self) -> None:
        super().__init__(theme=RichProgressBarTheme(metrics_text_delimiter="  "))
        self._read_at = float("-inf")
        self._metrics: dict[str, Any] = {}
        self._clock = TrainingClock()
        self._has_validated = False

    @property
    def is_enabled(self) -> bool:
        return super().is_enabled and sys.stdout.isatty()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        now = time.monotonic()
        # outside training nothing runs ahead of the host, and the metrics of a validation have to be shown at once
        if not trainer.training or now - self._read_at >= REFRESH_SECONDS:
            clock = self._clock.read(trainer.global_step, trainer.strategy.root_device)
            metrics = super().get_metrics(trainer, pl_module)
            self._read_at, self._metrics = now, {**filter_names(metrics, self._has_validated), **clock}
        return self._metrics

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        description, _, batches, *_ = super().configure_columns(trainer)
        # short, since the metrics that follow have the time that is left, and speed
        return [description, BarColumn(bar_width=12), batches]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._clock = TrainingClock(pl_module.things if isinstance(pl_module, TaskModule) else "samples")
        self._clock.start(trainer.global_step, float(trainer.estimated_stepping_batches))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._clock.start_epoch()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loader = trainer.train_dataloader
        samples = len(pl_module.sample_names(batch)) if isinstance(pl_module, TaskModule) else 0
        waited = loader.waited if isinstance(loader, ResumableLoader) else None
        self._clock.step(samples * trainer.world_size, waited)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_start(trainer, pl_module)
        self._clock.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clock.resume()
        self._has_validated |= not trainer.sanity_checking
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn != TrainerFn.FITTING:
            self._close(self.val_progress_bar_id)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_test_end(trainer, pl_module)
        self._close(self.test_progress_bar_id)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self._close(self.train_progress_bar_id)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.is_global_zero:
            self._read_at = float("-inf")
            shown = self.get_metrics(trainer, pl_module)
            parts = [f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in shown.items()]
            self._print("  ".join([self._get_train_description(trainer.current_epoch).strip(), *parts]))

    def _get_train_description(self, current_epoch: int) -> str:
        last = self.trainer.max_epochs
        text = f"epoch {current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")
        # as long as that of a validation, or the bar would jump
        return f"{text:{len(self.validation_description)}}"

    def _close(self, bar: Any) -> None:
        """Remove a bar and stop drawing, before other callbacks print their results."""
        if self.progress is not None and bar is not None:
            self.progress.update(bar, visible=False)
        self._stop_progress()

    def _print(self, line: str) -> None:
        if self.progress is not None and self.is_enabled:
            self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)
