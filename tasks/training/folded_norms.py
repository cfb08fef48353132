"""Batch-norm folding for test and predict."""

from __future__ import annotations

import copy
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from vertebra.backbones.folding import fold_norms


class FoldedNorms(Callback):
    """Folds the batch norms of a copy of a module's `network` into its convolutions while it tests or predicts.

    Test and predict thus run the same network. The module gets its own network back at the end, also after an error or
    Ctrl-C.
    """

    def __init__(self) -> None:
        self._own: nn.Module | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fold(pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._unfold(pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fold(pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._unfold(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unfold(pl_module)

    def _fold(self, module: Any) -> None:
        self._own = module.network
        with torch.inference_mode(False):  # Grad-CAM needs gradients, which no tensor made in that mode has
            module.network = copy.deepcopy(module.network).eval()
            fold_norms(module.network)

    def _unfold(self, module: Any) -> None:
        if self._own is not None:
            module.network, self._own = self._own, None
