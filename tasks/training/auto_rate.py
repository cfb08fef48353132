"""Learning rate in proportion to the batch."""

from __future__ import annotations

import math

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.loading.data import TaskData


class AutoRate(Callback):
    """Scales the learning rate of a recipe linearly with the number of samples in an optimizer step.

    Accurate, Large Minibatch SGD, Goyal et al. 2017, https://arxiv.org/abs/1706.02677. The samples of a step are those
    of a batch, times devices, times accumulated batches. A resumed run keeps its rate, which its checkpoint has.

    Args:
        batch_size: samples of a step that the learning rate of the recipe is for.

    Raises:
        ValueError: it is below 1.
    """

    def __init__(self, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size of AutoRate is {batch_size}; expected the samples of a step, 1 or more.")
        self.batch_size = batch_size

    # not in `setup`: there `AutoBatch` may not have found the size of the batches yet
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = getattr(trainer, "datamodule", None)
        if trainer.ckpt_path is not None or not isinstance(data, TaskData):
            return
        others = {"devices": trainer.world_size, "accumulated batches": trainer.accumulate_grad_batches}
        samples = data.batch_size * math.prod(others.values())
        factor = samples / self.batch_size
        rates = [group["initial_lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= factor
                group["initial_lr"] *= factor
        for config in trainer.lr_scheduler_configs:
            config.scheduler.base_lrs = [rate * factor for rate in config.scheduler.base_lrs]
        factors = [f"{data.batch_size} a batch", *(f"{count} {name}" for name, count in others.items() if count > 1)]
        rank_zero_info(
            f"learning rate {max(rates) * factor:.3g} for {samples} samples in a step ({' x '.join(factors)}); "
            f"the recipe has {max(rates):.3g} for {self.batch_size}"
        )
