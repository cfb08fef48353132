"""What a run prints: none of Lightning's tips and tables, and two lines on what is trained where."""

from __future__ import annotations

import logging
import re
import warnings

from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.reporting.run_identity import count_in_words
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.run_facts import hardware, network_facts

# messages of Lightning that say nothing on the run: advertisements, tips, and what the report or a line of ours has
_CHATTER = re.compile(
    r"💡 Tip|(GPU|TPU|HPU) available|LOCAL_RANK: |You are using a CUDA device|Using .* Automatic Mixed Precision"
    r"|Loading `train_dataloader` to estimate|`Trainer\.fit` stopped|Seed set to|Restor(ing|ed) (all )?states"
    r"|Loaded model weights|Found current_model_state|Detected KeyboardInterrupt"
)
_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
    "lightning.pytorch.accelerators.cuda",
)
_WARNINGS = (
    "The number of training batches",  # `CurvePoints` sets the interval
    ".*is not supported by the model summary",
    ".*does not have many workers",  # the progress bar has the time that steps wait for data
    "Checkpoint directory .* exists and is not empty",  # as it does when a run is resumed
    "The dirpath has changed",
    "Be aware that when using `ckpt_path`",
)


def silence_chatter() -> None:
    """Leave out what Lightning prints beside errors and warnings on the run."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, _NoChatter) for one in logger.filters):
            logger.addFilter(_NoChatter())
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message=message)


class _NoChatter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return _CHATTER.search(record.getMessage()) is None


class RunHeader(Callback):
    """Prints network and hardware of a training before its first step."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or not isinstance(pl_module, TaskModule):
            return
        facts = network_facts(pl_module)
        backbone = f", {facts['backbone']}" if facts["backbone"] else ""
        devices = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
        print(f"network {facts['name']}{backbone}, {count_in_words(facts['parameters'])} parameters")
        print(f"device  {devices}{hardware(trainer)}, {trainer.precision}", flush=True)
