"""Correction of Lightning's loop counters in checkpoints, for exact resumption.

Lightning saves its counters as they are in the middle of a hook. How it resumes from them depends on the hook, on
`max_steps` and on whether validation was due: some combinations skip a validation, repeat an epoch or count a step
twice. Checkpoints are therefore taken at three positions only, and for each the counters are rewritten into the form
from which Lightning resumes correctly in all combinations.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from lightning.pytorch import Trainer


class LoopPosition(Enum):
    """Position in the training loop at which a checkpoint is taken."""

    BETWEEN_BATCHES = "the next batch has been fetched; the previous one is logged and validated"
    BEFORE_VALIDATION = "validation is due"
    BETWEEN_EPOCHS = "an epoch has ended, including its validation"
    START = "before the first batch of this process"


def write_position(progress: dict[str, Any], position: LoopPosition) -> None:
    """Rewrite the state of Lightning's `fit_loop`, taken in a hook at `position`, so that it resumes there."""
    batches, epochs = progress["epoch_loop.batch_progress"], progress["epoch_progress"]
    if position is LoopPosition.BETWEEN_BATCHES:  # as in `on_train_batch_end` of the previous batch
        for counts in (batches["total"], batches["current"]):
            counts["ready"] -= 1
            counts["completed"] -= 1
        batches["is_last_batch"] = False
        progress["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    elif position is LoopPosition.BEFORE_VALIDATION:  # as in the first validation batch, which Lightning restarts
        validation = progress["epoch_loop.val_loop.batch_progress"]
        for counts in (validation["total"], validation["current"]):
            counts["ready"] += 1
            counts["started"] += 1
    elif position is LoopPosition.BETWEEN_EPOCHS:  # otherwise Lightning counts the finished epoch as interrupted
        for counts in (epochs["total"], epochs["current"]):
            counts["completed"] = counts["processed"]


def fix_loops_on_resume(trainer: Trainer) -> None:
    """Correct Lightning's loops in `on_train_start` of a resumed run."""
    loop = trainer.fit_loop
    epochs, validation = loop.epoch_progress.total, loop.epoch_loop.val_loop
    if validation.restarted_mid_evaluation:
        validation.batch_progress.total.reset_on_restart()
    # with `max_steps`, Lightning would restart a finished epoch
    if loop.restarting and epochs.ready == epochs.completed:
        loop._restarting = False
        loop.epoch_loop.restarting = False
