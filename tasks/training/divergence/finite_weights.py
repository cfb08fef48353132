"""Finiteness check of weights before an evaluation."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.training.divergence.finite import check_finite_weights, named_weights


class FiniteWeights(Callback):
    """Callback that checks the weights before validation, test and prediction.

    Must precede `FoldedNorms`, after which weights have no longer the names of the checkpoint.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, module: LightningModule) -> None:
        origin = str(trainer.ckpt_path or "before the evaluation")
        check_finite_weights(named_weights(module), origin, "Use a checkpoint from before the training diverged.")
