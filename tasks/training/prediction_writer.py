"""Base callback that collects predictions batch by batch and writes them at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.loading.processes import all_gather

P = TypeVar("P")


class PredictionWriter(Callback, ABC, Generic[P]):
    """Writes what a module's `predict_step` returns, a list a batch, below the trainer's `default_root_dir`."""

    def __init__(self) -> None:
        self._kept: list[P] = []
        self._number = 0

    def keep(self, outputs: list[Any], folder: Path, trainer: Trainer) -> Iterable[P]:
        """Write what does not fit into memory, such as pictures, and return what is kept of a batch.

        Args:
            outputs: of `predict_step`.
            folder: to write into.
            trainer: that predicts.
        """
        return outputs

    @abstractmethod
    def finish(self, predictions: Sequence[P], folder: Path) -> None:
        """Write what was kept; only the first process of a run does.

        Args:
            predictions: of all processes, the first process's first.
            folder: to write into.
        """

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._kept, self._number = [], 0

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._number += len(outputs)
        self._kept += self.keep(outputs, Path(trainer.default_root_dir), trainer)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not sum(all_gather([self._number])):
            raise ValueError(
                "none of the files could be read, so that there is nothing to predict on; the warnings above name each "
                "file and its fault. Give other files."
            )
        predictions = all_gather(self._kept)
        if trainer.is_global_zero:
            self.finish(predictions, Path(trainer.default_root_dir))
