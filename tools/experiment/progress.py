"""Progress bar without a host-device synchronization per step."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

REFRESH_SECONDS = 0.5  # between two reads of the metrics; faster cannot be read by eye


class ThrottledProgressBar(RichProgressBar):
    """Lightning's progress bar, with training metrics refreshed twice a second instead of at every step.

    Reading a loss copies it to the host, which blocks until the GPU has computed it and leaves the GPU idle meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self._read_at = float("-inf")
        self._metrics: dict[str, Any] = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        now = time.monotonic()
        # outside training nothing runs ahead of the host, and the metrics of a validation have to be shown at once
        if not trainer.training or now - self._read_at >= REFRESH_SECONDS:
            self._read_at, self._metrics = now, super().get_metrics(trainer, pl_module)
        return self._metrics
