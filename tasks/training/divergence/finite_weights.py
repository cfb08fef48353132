"""Refuses to evaluate weights that are not finite."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.training.divergence.finite import refuse_nonfinite_weights, weights_of


class FiniteWeights(Callback):
    """Checks the weights before an evaluation, and before norms are folded, while the weights have their names."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, module: LightningModule) -> None:
        origin = str(trainer.ckpt_path or "before the evaluation")
        refuse_nonfinite_weights(weights_of(module), origin, "Use a checkpoint from before the training diverged.")
