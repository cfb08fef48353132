"""Freezing of the first layers of a network while it is fine-tuned."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from vertebra.tasks.training.layers import layer_groups


class FrozenLayers(Callback):
    """Keep the first layer groups of the backbone as they are: without gradients, norms in evaluation mode.

    First layers find edges and colors, which differ little from data set to data set: How transferable are features in
    deep neural networks?, Yosinski et al. 2014, https://arxiv.org/abs/1411.1792. Only for networks with trained
    weights: a frozen random stem limits what the rest can learn.

    Args:
        groups: number of groups from the input on; 1 is the stem, 2 the stem and C2.

    Raises:
        ValueError: the network has too few groups, or there is nothing to freeze.
    """

    def __init__(self, groups: int = 1) -> None:
        if groups < 1:
            raise ValueError(
                f"groups is {groups}; expected 1 (the stem) or more. Leave the callback out to freeze none."
            )
        self.groups = groups
        self._modules: list[nn.Module] = []
        self._parameters: list[nn.Parameter] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        layers = layer_groups(pl_module.network)  # type: ignore[arg-type]
        if self.groups >= len(layers) - 1:
            raise ValueError(
                f"groups is {self.groups}; this network has {len(layers) - 1} before its head, at least one of which "
                "is trained. Give fewer."
            )
        self._modules = [module for layer in layers[: self.groups] for module in layer]
        self._parameters = [
            weight for module in self._modules for weight in module.parameters() if weight.requires_grad
        ]
        # before the optimizer is made, which leaves them out, and before DDP, which does not wait for them
        for parameter in self._parameters:
            parameter.requires_grad_(False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for module in self._modules:
            module.eval()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # not called for the epoch in which a run is resumed

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for parameter in self._parameters:  # restore the network, which a notebook may train again
            parameter.requires_grad_(True)
