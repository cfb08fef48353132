"""Lightning's loop counters in a checkpoint, written so that its loops continue exactly there.

Lightning saves its counters as they are in the middle of a hook, and what it makes of them depends on the hook, on
`max_steps` and on whether validation was due: some combinations skip a validation, repeat an epoch or count a step
twice. There are three places where a run of ours is cut, and each has one form of the counters that Lightning takes up
correctly in every combination.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from lightning.pytorch import Trainer


class Place(Enum):
    """Where in the training loop a checkpoint is taken."""

    BETWEEN_BATCHES = "when the next batch is fetched, all of the one before being logged and validated"
    BEFORE_VALIDATION = "when validation is due"
    BETWEEN_EPOCHS = "when an epoch has ended, with its validation"
    START = "before the first batch of this process"


def write_place(progress: dict[str, Any], place: Place) -> None:
    """Change the state of Lightning's `fit_loop`, as a hook at `place` finds it, into the form that resumes there."""
    batches, epochs = progress["epoch_loop.batch_progress"], progress["epoch_progress"]
    if place is Place.BETWEEN_BATCHES:  # as in `on_train_batch_end` of the batch before
        for counts in (batches["total"], batches["current"]):
            counts["ready"] -= 1
            counts["completed"] -= 1
        batches["is_last_batch"] = False
        progress["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    elif place is Place.BEFORE_VALIDATION:  # as within the first validation batch, which Lightning begins again
        validation = progress["epoch_loop.val_loop.batch_progress"]
        for counts in (validation["total"], validation["current"]):
            counts["ready"] += 1
            counts["started"] += 1
    elif place is Place.BETWEEN_EPOCHS:
        for counts in (epochs["total"], epochs["current"]):
            counts["completed"] = counts["processed"]


def continue_at_place(trainer: Trainer) -> None:
    """Correct Lightning's loops in `on_train_start` of a run that continues from a checkpoint."""
    loop = trainer.fit_loop
    epochs, validation = loop.epoch_progress.total, loop.epoch_loop.val_loop
    if validation.restarted_mid_evaluation:
        validation.batch_progress.total.reset_on_restart()
    if loop.restarting and epochs.ready == epochs.completed:  # with `max_steps`, Lightning restarts a finished epoch
        loop._restarting = False
        loop.epoch_loop.restarting = False
