"""The L1 loss of YOLOX in the last epochs of a training."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.detection.networks.yolox import YOLOX


class FinalL1(Callback):
    """Adds the L1 distance of boxes to the losses of a `YOLOX` for the last epochs.

    Args:
        epochs: the number of these; 15 of 300 for the authors.

    Raises:
        ValueError: the number is below 1, the trainer has no `max_epochs`, or the network is no YOLOX.
    """

    def __init__(self, epochs: int = 15) -> None:
        if epochs < 1:
            raise ValueError(f"epochs is {epochs}; expected 1 or more, or leave the callback out.")
        self.epochs = epochs

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a run resumed in the middle of an epoch does not call `on_train_epoch_start` for it
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module.network, YOLOX):
            raise ValueError(
                f"FinalL1 is for YOLOX, but the network is a {type(pl_module.network).__name__}; leave it out."
            )
        if not trainer.max_epochs or trainer.max_epochs < 0:
            raise ValueError(
                f"max_epochs is {trainer.max_epochs}, so no epoch is among the last {self.epochs}; set "
                "--trainer.max_epochs, or leave the callback FinalL1 out."
            )
        pl_module.network.l1 = trainer.current_epoch >= trainer.max_epochs - self.epochs
