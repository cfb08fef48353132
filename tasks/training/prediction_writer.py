"""Base class of prediction writers: collection over batches and processes, output as files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer

from vertebra.tasks.loading.processes import all_gather

P = TypeVar("P")


def nothing_read(skipped: Sequence[str]) -> ValueError:
    """Return the error of a prediction without any readable file.

    Args:
        skipped: one message per file.
    """
    first = f"{skipped[0]} " if skipped else ""
    return ValueError(
        f"{first}None of the files could be read ({len(skipped)} in all); give at least one that this model reads."
    )


class PredictionWriter(Callback, ABC, Generic[P]):
    """Writer of the lists returned by `predict_step`.

    As a callback it writes to the trainer's `default_root_dir` while batches are predicted; `write` writes predictions
    that are in memory already, to the same files.
    """

    def __init__(self) -> None:
        self._kept: list[P] = []
        self._num_outputs = 0

    def begin(self, folder: Path, dataset: Any, rank: int = 0, num_processes: int = 1) -> None:
        """Open the output of this process.

        Args:
            folder: output folder.
            dataset: the samples that are predicted on.
            rank: number of this process.
            num_processes: number of processes that write to `folder`.
        """
        self._kept, self._num_outputs = [], 0

    def keep(self, outputs: list[Any], folder: Path, dataset: Any) -> Iterable[P]:
        """Write what is too large for memory, such as images, and return what to keep of a batch.

        Args:
            outputs: output of `predict_step` for one batch.
            folder: output folder.
            dataset: the samples that are predicted on.
        """
        return outputs

    def end(self) -> None:
        """Close the output of this process; all processes do so before the first one calls `finish`."""
        return

    def discard(self) -> None:
        """Remove the unfinished output of this process after an exception."""
        return

    @abstractmethod
    def finish(self, predictions: Sequence[P], folder: Path) -> None:
        """Write the kept predictions; called on rank 0 only.

        Args:
            predictions: predictions of all processes, in order of rank.
            folder: output folder.
        """

    def write(self, outputs: list[Any], folder: Path, dataset: Any) -> None:
        """Write predictions in memory; arguments as for `keep`."""
        self.begin(folder, dataset)
        try:
            kept = list(self.keep(outputs, folder, dataset))
            self.end()
            self.finish(kept, folder)
        except BaseException:
            self.discard()
            raise

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.discard()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder, dataset = Path(trainer.default_root_dir), _dataset_of(trainer)
        self.begin(folder, dataset, trainer.global_rank, trainer.world_size)

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
        self._kept += self.keep(outputs, Path(trainer.default_root_dir), _dataset_of(trainer))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.end()
        # both gathers are collective, so that they come before the branch on the rank
        if not sum(all_gather([self._num_outputs])):
            raise nothing_read(list(getattr(pl_module, "skipped", ())))
        predictions = all_gather(self._kept)
        if trainer.is_global_zero:
            self.finish(predictions, Path(trainer.default_root_dir))


def _dataset_of(trainer: Trainer) -> Any:
    return trainer.predict_dataloaders.dataset  # type: ignore[union-attr]
