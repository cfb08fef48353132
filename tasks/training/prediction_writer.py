"""Base class of prediction writers: collection over batches and processes, output at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.loading.processes import all_gather

P = TypeVar("P")


class PredictionWriter(Callback, ABC, Generic[P]):
    """Callback that writes the lists returned by `predict_step` to the trainer's `default_root_dir`."""

    def __init__(self) -> None:
        self._kept: list[P] = []
        self._num_outputs = 0

    def keep(self, outputs: list[Any], folder: Path, trainer: Trainer) -> Iterable[P]:
        """Write what is too large for memory, such as images, and return what to keep of a batch.

        Args:
            outputs: output of `predict_step` for one batch.
            folder: output folder.
            trainer: the trainer, with access to the data loaders.
        """
        return outputs

    @abstractmethod
    def finish(self, predictions: Sequence[P], folder: Path) -> None:
        """Write the kept predictions; called on rank 0 only.

        Args:
            predictions: predictions of all processes, in order of rank.
            folder: output folder.
        """

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._kept, self._num_outputs = [], 0

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._num_outputs += len(outputs)  # counted apart: a writer may keep nothing
        self._kept += self.keep(outputs, Path(trainer.default_root_dir), trainer)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # both gathers are collective, so that they come before the branch on the rank
        if not sum(all_gather([self._num_outputs])):
            raise ValueError(
                "none of the files could be read; expected at least one to predict on. The warnings above name each "
                "file and its fault; correct the files or the path."
            )
        predictions = all_gather(self._kept)
        if trainer.is_global_zero:
            self.finish(predictions, Path(trainer.default_root_dir))
