"""Check that batch norm gets more than one value per channel in training."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class LoneSample(Callback):
    """Stops training with one sentence where a batch norm gets one sample whose feature map is 1 x 1 pixels.

    Shapes are checked from the first batch of one sample on, so that other trainings pay nothing for it. Such a batch
    comes from `batch_size` 1, or from a training split of one sample; see `vertebra.tasks.loading.samplers`.
    """

    def __init__(self) -> None:
        self._is_watching = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._is_watching or len(names := pl_module.sample_names(batch)) != 1:
            return
        self._is_watching = True
        for name, module in pl_module.network.named_modules():
            is_synced = isinstance(module, nn.SyncBatchNorm) and dist.is_available() and dist.is_initialized()
            if isinstance(module, _BatchNorm) and not is_synced:
                module.register_forward_pre_hook(partial(_refuse_single_value, name, names[0]))


def _refuse_single_value(name: str, sample: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
    size = tuple(args[0].shape)
    if module.training and args[0].numel() == size[1]:
        raise ValueError(
            f"{name} sees a map of {size} in a batch of one sample ({sample}), but batch norm needs two values per "
            "channel or more to train. Give --data.batch_size 2 or more and as many samples, larger inputs, or "
            "--model.network.norm group."
        )
