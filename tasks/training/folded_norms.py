"""Batch-norm folding callback for test and prediction."""

from __future__ import annotations

import copy
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from vertebra.backbones.folding import fold_norms
from vertebra.backbones.weight_precision import round_weights
from vertebra.tasks.training.cuda_graphs import replay_graphs


class FoldedNorms(Callback):
    """Replaces a module's `network` by a copy for inference during test and prediction.

    The copy has folded batch norms, weights in the precision of the trainer, and CUDA graphs. Test and prediction both
    use it, so that reported metrics are those of the deployed arithmetic. The original network is restored at the end,
    also after an error or Ctrl-C.
    """

    def __init__(self) -> None:
        self._original: nn.Module | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fold(pl_module, trainer.precision)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._unfold(pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fold(pl_module, trainer.precision)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._unfold(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unfold(pl_module)

    def _fold(self, module: Any, precision: str) -> None:
        self._original = module.network
        # folding happens inside Lightning's inference mode, whose tensors can never require the gradients of Grad-CAM
        with torch.inference_mode(False):
            # a copy, since weights once folded cannot be trained or saved as they were
            module.network = copy.deepcopy(module.network).eval()
            fold_norms(module.network)
            round_weights(module.network, precision)
        replay_graphs(module.network)

    def _unfold(self, module: Any) -> None:
        if self._original is not None:
            module.network, self._original = self._original, None
