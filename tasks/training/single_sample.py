"""Check for batches of one sample, on which batch norm may be left with a single value per channel."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SingleSampleCheck(Callback):
    """Raises a clear error where batch norm gets a single value per channel in training, which has no variance.

    Hooks are registered at the first batch of one sample, so that they cost nothing in other runs. Such a batch comes
    from `batch_size` 1 or a training split of one sample; see `vertebra.tasks.loading.samplers`.
    """

    def __init__(self) -> None:
        self._is_hooked = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._is_hooked or len(names := pl_module.sample_names(batch)) != 1:
            return
        self._is_hooked = True
        for name, module in pl_module.network.named_modules():
            # a synchronized batch norm has the values of the other processes, too
            is_synced = isinstance(module, nn.SyncBatchNorm) and dist.is_available() and dist.is_initialized()
            if isinstance(module, _BatchNorm) and not is_synced:
                module.register_forward_pre_hook(partial(_refuse_single_value, name, names[0]))


def _refuse_single_value(name: str, sample: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
    size = tuple(args[0].shape)
    if module.training and args[0].numel() == size[1]:
        raise ValueError(
            f"the input of {name} is {size} in a batch of one sample ({sample}); batch norm expects two or more values "
            "per channel in training. Use --data.batch_size 2 or more and as many samples, larger inputs, or "
            "--model.network.norm group."
        )
