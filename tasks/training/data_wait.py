"""Data-wait logging: how long training steps wait for their batches, which shows whether loading is the bottleneck."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.loading.resumable_loader import ResumableLoader


class DataWait(Callback):
    """Logs `train/data_wait`, the seconds from asking the training loader for a batch to having it."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        loader = trainer.train_dataloader
        if isinstance(loader, ResumableLoader) and loader.waited is not None:
            # a tensor of the host: Lightning would copy a number to the device, and wait for it
            pl_module.log("train/data_wait", torch.tensor(loader.waited), batch_size=1)
