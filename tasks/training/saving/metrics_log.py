"""Resumable CSV logger of metrics."""

from __future__ import annotations

import csv
import os
from argparse import Namespace
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from vertebra.tasks.loading.files.whole_file import draft_of

_FILE = "metrics.csv"


class MetricsLog(Logger):
    """Logger of `metrics.csv` in the format of Lightning's CSVLogger: sorted columns, one row per call.

    Rows are written at once. A checkpoint records which rows precede it; a run resumed from it drops the later ones and
    appends. New columns rewrite the file atomically.

    Args:
        save_dir: folder of the run.
        name: subfolder of the logs.
        resumed: continue the newest log instead of starting a new version.

    Attributes:
        num_rows: rows of this run in the file.
    """

    def __init__(self, save_dir: str | os.PathLike[str], name: str = "logs", resumed: bool = False) -> None:
        super().__init__()
        self._save_dir, self._name = Path(save_dir), name
        numbers = [int(log.name[8:]) for log in (self._save_dir / name).glob("version_*") if log.name[8:].isdigit()]
        self._version = max(numbers, default=-1) + (0 if resumed and numbers else 1)
        self._columns: list[str] = []
        self._is_finished = False
        self.num_rows = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> int:
        return self._version

    @property
    def save_dir(self) -> str:
        return str(self._save_dir)

    @property
    def log_dir(self) -> str:
        return str(self.file.parent)

    @property
    def file(self) -> Path:
        """The CSV file."""
        return self._save_dir / self._name / f"version_{self._version}" / _FILE

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is saved in the run folder already."""

    def finish(self) -> None:
        """Ignore what is logged from now on: an evaluation after the training is no point of its curves."""
        self._is_finished = True

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self._is_finished:
            return
        row = {**metrics, "step": self.num_rows if step is None else step}
        if new := row.keys() - set(self._columns):
            rows = _read(self.file) if self.num_rows else []
            self._columns = sorted(new.union(self._columns))
            _write(self.file, self._columns, rows)
        self.num_rows += 1
        # opened for every row, so that a killed run loses none
        with self.file.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    @rank_zero_only
    def continue_from(self, step: int | None = None, rows: int | None = None) -> None:
        """Drop the rows written after a checkpoint, and append from there.

        Args:
            step: keep rows before the first one of this step or later; None keeps all.
            rows: number of rows to keep; None keeps all.
        """
        kept = _read(self.file)[:rows] if self.file.is_file() else []
        if step is not None:
            kept = list(takewhile(lambda row: int(row["step"]) < step, kept))
        # only the columns in use: later ones are added again when they are logged
        self._columns = sorted({name for row in kept for name, value in row.items() if value})
        self.num_rows = len(kept)
        if kept:
            _write(self.file, self._columns, kept)
        else:
            self.file.unlink(missing_ok=True)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        # a row cut off by a kill may lack its step
        return [row for row in csv.DictReader(file) if row["step"]]


def _write(path: Path, columns: Sequence[str], rows: Sequence[dict[str, str]]) -> None:
    with draft_of(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
