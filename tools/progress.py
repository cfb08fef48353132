"""A progress bar that lets a GPU run ahead."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

SECONDS = 0.5  # between two readings


class SeldomReadingBar(RichProgressBar):
    """Lightning's bar, which in training reads the losses twice a second and not at every step.

    Whoever reads a loss waits until the GPU has computed it, and in that time gives it nothing to do.
    """

    def __init__(self) -> None:
        super().__init__()
        self._read_at = float("-inf")
        self._metrics: dict[str, Any] = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        now = time.monotonic()
        if not trainer.training or now - self._read_at >= SECONDS:
            self._read_at, self._metrics = now, super().get_metrics(trainer, pl_module)
        return self._metrics
