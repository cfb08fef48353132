"""Logging interval of short runs, whose curves need points too."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

_LEAST_POINTS = 20  # of a curve


class CurvePoints(Callback):
    """Shortens the logging interval of runs whose curves would have hardly a point.

    A logged loss is copied from the device, which the host waits for: only runs of less than 20 steps log every step.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        run: Any = trainer  # which sets the interval outside of its class
        steps = trainer.estimated_stepping_batches
        if math.isfinite(steps):
            run.log_every_n_steps = min(run.log_every_n_steps, max(1, int(steps) // _LEAST_POINTS))
