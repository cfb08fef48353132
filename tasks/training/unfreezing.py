"""Gradual unfreezing: the head trains first, then one more layer towards the input at a time."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from vertebra.tasks.training.layers import layers_of
from vertebra.tasks.training.module import TaskModule


class GradualUnfreezing(Callback):
    """Trains the head alone at first; every few epochs the next layer towards the input is unfrozen.

    A frozen layer has no gradients, and its norms use and keep their statistics. What the network itself has frozen
    stays frozen. With `--model.layer_decay`, early layers also have lower learning rates.

    Universal Language Model Fine-tuning for Text Classification, Howard and Ruder 2018,
    https://arxiv.org/abs/1801.06146 (one layer an epoch).

    Args:
        epochs: from one layer to the next.
    """

    def __init__(self, epochs: int = 1) -> None:
        if epochs < 1:
            raise ValueError(f"epochs is {epochs}; give at least 1.")
        self.epochs = epochs
        self.layers: list[tuple[list[nn.Module], list[nn.Parameter]]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or not isinstance(pl_module, TaskModule):
            return
        if isinstance(trainer.strategy, DDPStrategy) and not trainer.strategy._ddp_kwargs.get("find_unused_parameters"):
            raise ValueError(
                "gradual unfreezing leaves parameters without gradients, and several processes would wait for them; "
                "set --trainer.strategy ddp_find_unused_parameters_true."
            )
        # PyTorch's fused SGD needs the parameters of a group to have gradients from the same step on
        pl_module.by_layer = True
        # before the optimizer is created, so that it has every parameter that will ever be unfrozen
        self.layers = [
            (layer, [weight for part in layer for weight in part.parameters() if weight.requires_grad])
            for layer in layers_of(pl_module.network)
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._freeze(pl_module, trainer.current_epoch)  # a run resumed within an epoch does not start that epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._freeze(pl_module, trainer.current_epoch)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for _, parameters in self.layers:  # the next run starts from the state before this one
            for parameter in parameters:
                parameter.requires_grad_(True)

    def _freeze(self, pl_module: LightningModule, epoch: int) -> None:
        if not isinstance(pl_module, TaskModule):
            return
        waiting = len(self.layers) - 1 - epoch // self.epochs
        pl_module.network.train()  # the backbone's own `train` keeps in evaluation what it has frozen itself
        for number, (modules, parameters) in enumerate(self.layers):
            for parameter in parameters:
                parameter.requires_grad_(number >= waiting)
            for module in modules if number < waiting else ():
                module.eval()
