"""Cost of a teacher: its part of the time of a training step, measured once near the beginning."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.training.distillation.teacher import Moment, Teacher

_WARMUP, _MEASURED = 3, 10  # steps: the first ones choose algorithms and allocate memory


class TeacherCost(Callback):
    """Callback that measures the teacher's share of some steps, says it in one line, and then does nothing.

    The time of a step is from its batch to the end of its optimizer step, without waiting for data. A GPU is waited
    for once, after the last of these steps.

    Args:
        teacher: that is measured.
    """

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self._began: Moment | None = None
        self._steps: list[tuple[Moment, Moment]] = []
        self._seen = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.teacher.share is not None:
            return
        self._seen += 1
        if self._seen > _WARMUP:
            if self.teacher.spans is None:
                self.teacher.spans = []
            self._began = Moment.now(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._began is None:
            return
        self._steps.append((self._began, Moment.now(pl_module.device)))
        self._began = None
        if len(self._steps) == _MEASURED or batch_idx + 1 == trainer.num_training_batches:
            self._conclude()

    def _conclude(self) -> None:
        taught, whole = (
            sum(end.seconds_since(start) for start, end in spans) for spans in (self.teacher.spans or [], self._steps)
        )
        self.teacher.share = taught / whole
        rank_zero_info(f"teacher {self.teacher.described()} ({len(self._steps)} steps measured)")
        self.teacher.spans, self._steps = None, []
