"""Logger of metrics to one CSV file, which a resumed run continues as if it had never been interrupted."""

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

_FILE = "metrics.csv"


class MetricsLog(Logger):
    """Writes `metrics.csv` in the format of Lightning's CSVLogger: sorted columns, one row a call, flushed at once.

    A checkpoint keeps which rows belong to it; a run that continues from it drops the others and appends. Rows
    that change the columns rewrite the file, beside it and then in its place.

    Args:
        save_dir: folder of the run.
        name: folder of its logs.
        resumed: the run continues from a checkpoint, and its log with it: the newest one there is.

    Attributes:
        num_rows: in the file, of this run.
    """

    def __init__(self, save_dir: str | os.PathLike[str], name: str = "logs", resumed: bool = False) -> None:
        super().__init__()
        self._save_dir, self._name = Path(save_dir), name
        numbers = [int(log.name[8:]) for log in (self._save_dir / name).glob("version_*") if log.name[8:].isdigit()]
        self._version = max(numbers, default=-1) + (0 if resumed and numbers else 1)
        self._columns: list[str] = []
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
        """Nothing: the configuration is in the run folder."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {**metrics, "step": self.num_rows if step is None else step}
        if new := row.keys() - set(self._columns):
            rows = _read(self.file) if self.num_rows else []
            self._columns = sorted(new.union(self._columns))
            _write(self.file, self._columns, rows)
        self.num_rows += 1
        with self.file.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    @rank_zero_only
    def continue_from(self, step: int | None = None, rows: int | None = None) -> None:
        """Keep the rows that belong to a checkpoint, and continue behind them.

        Args:
            step: keep those in front of the first row of this step or a later one; None keeps all.
            rows: keep so many; None keeps all.
        """
        kept = _read(self.file)[:rows] if self.file.is_file() else []
        if step is not None:
            kept = list(takewhile(lambda row: int(row["step"]) < step, kept))
        # columns as the rows need them: those that came later come again
        self._columns = sorted({name for row in kept for name, value in row.items() if value})
        self.num_rows = len(kept)
        if kept:
            _write(self.file, self._columns, kept)
        else:
            self.file.unlink(missing_ok=True)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["step"]]


def _write(path: Path, columns: Sequence[str], rows: Sequence[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
