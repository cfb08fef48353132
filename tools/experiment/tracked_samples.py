"""Callback that sends pictures of predictions and tables to the experiment trackers."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn

from vertebra.tasks.reporting.captions import contact_sheet
from vertebra.tasks.training.module import TaskModule
from vertebra.tools.experiment.trackers import log_picture, log_table

_NUM_SAMPLES = 8  # of the validation split, the first ones: the same in every epoch


class TrackedSamples(Callback):
    """Sends the predictions for a few validation samples after every validation, and the metrics at the end.

    The samples are the same in every epoch, which shows how their predictions change; pictures go out as
    `val/predictions`, the table of predictions under the same name, and the headline numbers of the evaluation of the
    best checkpoint as the table `val/metrics`.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # sharded networks run in all processes or in none
        alone = type(trainer.strategy) in (SingleDeviceStrategy, DDPStrategy)
        if trainer.sanity_checking or not trainer.is_global_zero or not alone or not isinstance(pl_module, TaskModule):
            return
        step = trainer.global_step
        if trainer.state.fn != TrainerFn.FITTING:
            rows = [{"metric": name, "value": float(value)} for name, value in pl_module.results.headline().items()]
            for logger in trainer.loggers:
                log_table(logger, "val/metrics", rows, step)
            return
        outputs = self._predict(trainer, pl_module)
        if not outputs:
            return
        sheet = contact_sheet([one.picture() for one in outputs], [one.name for one in outputs])
        rows = [row for one in outputs for row in one.rows()]
        for logger in trainer.loggers:
            log_picture(logger, "val/predictions", sheet, step)
            log_table(logger, "val/predictions_table", rows, step)

    def _predict(self, trainer: Trainer, module: TaskModule) -> list[Any]:
        loader: Any = trainer.val_dataloaders
        found = []
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            for index in range(min(_NUM_SAMPLES, len(loader.dataset))):
                found += module.predict_step(module.batch_of(loader, index), index)
        return module.sample_outputs(found, loader.dataset)
