"""Per-step seeding: random numbers depend on epoch and batch only, so that no generator state has to be saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.loading.data import run_seed


def seed_step(device: torch.device, seed: int, epoch: int, batch: int, rank: int) -> None:
    """Seed PyTorch's generators of the CPU and of a device for one training step.

    They are the source of dropout, stochastic depth, mixing and box sampling. A resumed run draws the same numbers as
    an uninterrupted one, whatever was drawn in between. Seeding runs on the host without synchronization.

    Args:
        device: device of the step.
        seed: seed of the run, 0 or more.
        epoch: epoch, from 0.
        batch: index of the batch in the epoch, from 0; accumulated batches count individually.
        rank: rank of the process, so that processes draw different numbers.
    """
    # a sum of the four would collide: batch 1 of epoch 0 with batch 0 of epoch 1
    entropy = np.random.SeedSequence((seed, epoch, batch, rank))
    step_seed = int(entropy.generate_state(1, np.uint64)[0])
    # not `torch.manual_seed`, which formats a stack trace on every call while CUDA is uninitialized (200 us)
    torch.default_generator.manual_seed(step_seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(step_seed)


class StepSeed(Callback):
    """Callback that seeds every training step; not a module hook, which a subclass could override."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed_step(pl_module.device, run_seed(), trainer.current_epoch, batch_idx, trainer.global_rank)
