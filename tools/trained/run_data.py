"""Data set of a run, read again for measurements."""

from __future__ import annotations

import numpy as np
from torch.utils.data import DataLoader

from vertebra.tasks.loading.data import TaskData
from vertebra.tools.trained.assembly import training_data
from vertebra.tools.trained.location import run_folder
from vertebra.tools.trained.run import Run


def validation_batches(run: Run) -> DataLoader:
    """Return the batches of the validation split, in order.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: it has other classes than the run.
    """
    return _data_of(run).val_dataloader()


def training_batches(run: Run, samples: int) -> DataLoader:
    """Return batches of evenly spaced samples of the training split, prepared as those of the validation split.

    Args:
        run: the run.
        samples: how many, at most.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: it has other classes than the run.
    """
    data = _data_of(run)
    records = data.records("train")
    size = len(data.dataset(records, False, "skip"))
    # spaced, since a list of files may be ordered by class
    chosen = np.unique(np.linspace(0, size - 1, min(samples, size)).round().astype(np.int64))
    return data.in_order(data.dataset(records.only(chosen), False, "skip"))


def _data_of(run: Run) -> TaskData:
    folder = run_folder(run.path)
    data = training_data(folder / "config.yaml")
    data.num_workers = 0
    if tuple(data.class_names) != run.class_names:
        raise ValueError(
            f"{folder}: the data set has the classes {', '.join(data.class_names[:8])}, and the model "
            f"{', '.join(run.class_names[:8])}; give samples with --images PATH."
        )
    return data
