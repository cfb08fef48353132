"""Random numbers of a training step as a function of its place in the run, so that no generator state needs saving."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.loading.data import run_seed


def seed_step(device: torch.device, seed: int, epoch: int, batch: int, rank: int) -> None:
    """Seed PyTorch's generators, of the CPU and of a device, for one training step.

    Dropout, stochastic depth, mixing and the sampling of boxes all draw from them. A resumed run then draws what the
    uninterrupted run drew, whatever else was drawn in between. Seeding is work of the host that no device waits for.

    Args:
        device: that the step runs on.
        seed: of the whole run, 0 or more.
        epoch: from 0.
        batch: number of the batch within the epoch, from 0; accumulated batches count one by one.
        rank: of this process, so that processes differ.
    """
    entropy = np.random.SeedSequence((seed, epoch, batch, rank))
    step_seed = int(entropy.generate_state(1, np.uint64)[0])
    # not `torch.manual_seed`, which formats a stack trace at every call where CUDA is not in use (200 us)
    torch.default_generator.manual_seed(step_seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(step_seed)


class StepSeed(Callback):
    """Seeds every training step of a run; a callback, so that a module's own hooks cannot replace it."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed_step(pl_module.device, run_seed(), trainer.current_epoch, batch_idx, trainer.global_rank)
