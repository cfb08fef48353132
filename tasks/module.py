"""What every task's training shares: optimizer, schedule, memory format, and checkpoints that know their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from tasks.data import ResumableLoader
from tasks.report import Section
from tasks.schedules import Cosine, Schedule

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


class TaskModule(LightningModule):
    """Holds a network and says how it is trained.

    Args:
        network: the network of the task.
        class_names: the K classes, in the order of their labels.
        optimizer: parameter groups to an optimizer; weight decay does not touch norms and biases.
        schedule: factor on the learning rate over the training.
        channels_last: keep the weights and the images with the channels innermost, which convolutions are fastest on.
    """

    def __init__(
        self,
        network: nn.Module,
        class_names: Sequence[str],
        optimizer: OptimizerCallable = lambda groups: torch.optim.SGD(
            groups, lr=0.02, momentum=0.9, weight_decay=1e-4, fused=True
        ),
        schedule: Schedule | None = None,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)
        self.class_names = list(class_names)
        self.make_optimizer = optimizer
        self.schedule = schedule or Cosine()

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(parameter_groups(self.network))
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ValueError(
                "the training has no end to schedule for; set --trainer.max_epochs or --trainer.max_steps."
            )
        scheduler = LambdaLR(optimizer, lambda step: self.schedule((step + 1) / max(1, total)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if isinstance(loader := self.trainer.train_dataloader, ResumableLoader):
            loader.position = (self.current_epoch, batch_idx + 1)

    def log_losses(self, losses: Mapping[str, Tensor], batch_size: int) -> Tensor:
        """Log every loss and return their sum, which is logged as `train/loss`."""
        total = torch.stack(list(losses.values())).sum()
        self.log("train/loss", total, prog_bar=True, batch_size=batch_size)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, batch_size=batch_size)
        return total

    def report_sections(self, metrics_csv: Sequence[Path]) -> tuple[dict[str, float], list[Section]]:
        """Return the headline numbers and the sections of the report on the last evaluation.

        Args:
            metrics_csv: what Lightning's CSVLogger wrote, oldest first; a resumed run has several.
        """
        raise NotImplementedError(f"{type(self).__name__} has no report")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["class_names"] = self.class_names

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names = checkpoint.get("class_names", self.class_names)
        if names != self.class_names:
            raise ValueError(
                f"the checkpoint was trained on the classes {names}, the data set has {self.class_names}; "
                "use the data set that the checkpoint was trained on, or train anew."
            )


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups: those that decay, and norms and biases that do not."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    seen = set()
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                (kept if name == "bias" or isinstance(module, NORMS) else decayed).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
