"""Gradual unfreezing for fine-tuning, from the head towards the input."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from vertebra.tasks.training.layers import layer_groups
from vertebra.tasks.training.module import TaskModule


class GradualUnfreezing(Callback):
    """Gradual unfreezing: the head is trained first, and every `epochs` epochs one more layer group towards the input.

    A frozen group has no gradients, and its norms are in evaluation mode. Parameters frozen by the network itself stay
    frozen. Combine with `--model.layer_decay` for lower learning rates of early layers.

    Universal Language Model Fine-tuning for Text Classification, Howard and Ruder 2018,
    https://arxiv.org/abs/1801.06146, with one layer per epoch.

    Args:
        epochs: epochs between unfreezing one group and the next.
    """

    def __init__(self, epochs: int = 1) -> None:
        if epochs < 1:
            raise ValueError(f"epochs is {epochs}; expected 1 or more between one layer and the next.")
        self.epochs = epochs
        self.layers: list[tuple[list[nn.Module], list[nn.Parameter]]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or not isinstance(pl_module, TaskModule):
            return
        if isinstance(trainer.strategy, DDPStrategy) and not trainer.strategy._ddp_kwargs.get("find_unused_parameters"):
            raise ValueError(
                "gradual unfreezing leaves parameters without gradients, for which DDP waits forever; expected a "
                "strategy that finds unused parameters. Set --trainer.strategy ddp_find_unused_parameters_true."
            )
        # PyTorch's fused SGD requires that all parameters of a group get their first gradient in the same step
        pl_module.by_layer = True
        # in `setup`, before any parameter is frozen: the optimizer leaves out those that do not require gradients
        self.layers = [
            (layer, [weight for part in layer for weight in part.parameters() if weight.requires_grad])
            for layer in layer_groups(pl_module.network)
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a run resumed in the middle of an epoch does not call `on_train_epoch_start` for it
        self._freeze(pl_module, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._freeze(pl_module, trainer.current_epoch)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for _, parameters in self.layers:  # restore the network, which a notebook may train again
            for parameter in parameters:
                parameter.requires_grad_(True)

    def _freeze(self, pl_module: LightningModule, epoch: int) -> None:
        if not isinstance(pl_module, TaskModule):
            return
        num_frozen = len(self.layers) - 1 - epoch // self.epochs
        pl_module.network.train()  # the backbone's own `train`, which keeps frozen norms in evaluation mode
        for index, (modules, parameters) in enumerate(self.layers):
            for parameter in parameters:
                parameter.requires_grad_(index >= num_frozen)
            for module in modules if index < num_frozen else ():
                module.eval()
