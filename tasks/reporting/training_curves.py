"""Training curves over epochs, from the logs of a run."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vertebra.tasks.reporting.charts import NUM_LOOKS, Line, line_chart
from vertebra.tasks.reporting.report import Section, columns, note

_MAX_POINTS = 300  # of a line; more cannot be distinguished and make the page heavy


class _Logged(NamedTuple):
    """Values of one column.

    Attributes:
        steps: (N,) float64, optimizer steps before each value was logged, ascending.
        values: (N,) float64, finite.
    """

    steps: np.ndarray
    values: np.ndarray


def training_section(metrics_csv: Sequence[Path]) -> Section | None:
    """Return the training curves from `metrics.csv` files, or None where nothing was logged.

    Losses are the columns under `train/` and `val/` whose names contain `loss`, learning rates those of Lightning's
    LearningRateMonitor, and the other columns under `val/` are metrics.

    Args:
        metrics_csv: the logs of one run, oldest first; a resumed run may have several.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no column `step`.
    """
    rows = _read_logs(metrics_csv)
    logged = _columns(rows)
    losses = [name for name in logged if "loss" in name and name.startswith(("train/", "val/"))]
    metrics = [name for name in logged if name.startswith("val/") and name not in losses]
    # scores in 0..1 and, say, distances in millimeters need separate axes
    scores = [name for name in metrics if np.all((logged[name].values >= 0) & (logged[name].values <= 1))]
    others = [name for name in metrics if name not in scores]
    named = {
        ("Loss", "loss"): {_loss_name(name): logged[name] for name in _simplest_first(losses)},
        ("Validation", "score"): {name.removeprefix("val/"): logged[name] for name in _simplest_first(scores)},
        ("Validation", "value"): {name.removeprefix("val/"): logged[name] for name in _simplest_first(others)},
        ("Learning rate", "learning rate"): _learning_rates(logged),
    }
    clock = _EpochClock(rows)
    charts = []
    for (title, y_label), curves in named.items():
        if not curves:
            continue
        lines = [
            Line(name, *_thin(clock(curve.steps), curve.values), look=look)
            for look, (name, curve) in enumerate(list(curves.items())[:NUM_LOOKS])
        ]
        values = np.concatenate([line.y for line in lines])
        # logarithmic only where the loss falls by orders of magnitude: a linear axis is easier to read
        log_y = title == "Loss" and values.min() > 0 and values.max() > 20 * values.min()
        charts.append(line_chart(lines, title, clock.unit, y_label, log_y, x_limits=clock.limits))
    if not charts:
        return None
    text = "A validation score that gets worse while the training loss still falls indicates overfitting."
    return Section("Training", columns(*charts), note(text))


def last_logged(metrics_csv: Sequence[Path], name: str) -> float | None:
    """Return the last value of a column of the files, or None where it was not logged."""
    column = _columns(_read_logs(metrics_csv)).get(name)
    return None if column is None else float(column.values[-1])


def _simplest_first(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.count("/"), not name.startswith("train/"), len(name)))


def _loss_name(column: str) -> str:
    """Return `training` for `train/loss`, and `training: rpn box` for `train/loss_rpn_box`."""
    split, _, part = column.partition("/")
    part = part.removeprefix("loss").replace("_", " ").strip()
    return f"{'training' if split == 'train' else 'validation'}{': ' if part else ''}{part}"


def _learning_rates(logged: dict[str, _Logged]) -> dict[str, _Logged]:
    """Return the distinct learning rates; parameter groups are in the order of the layers, from input to head."""
    names = [name for name in logged if name.startswith("lr-") and not name.endswith(("-momentum", "-weight_decay"))]
    names.sort(key=lambda name: int("0" + "".join(filter(str.isdigit, name.rpartition("/")[2]))))
    distinct: list[_Logged] = []
    for curve in (logged[name] for name in names):
        # groups with and without weight decay share a rate
        if not any(np.array_equal(curve.values, other.values) for other in distinct):
            distinct.append(curve)
    if len(distinct) <= 1:
        return dict(zip(["learning rate"], distinct, strict=False))
    ends = {0: " (input)", len(distinct) - 1: " (head)"}
    return {f"layers {i + 1} of {len(distinct)}{ends.get(i, '')}": curve for i, curve in enumerate(distinct)}


class _EpochClock:
    """Conversion of steps to epochs, 1 for the end of the first one; to steps where no epoch was logged.

    Args:
        rows: of the logs.
    """

    def __init__(self, rows: Sequence[dict[str, str]]) -> None:
        last: dict[int, float] = {}  # the last step that was logged in each epoch
        for row in rows:
            if row.get("epoch"):
                epoch = int(float(row["epoch"]))
                last[epoch] = max(last.get(epoch, 0.0), float(row["step"]) + 1)
        ends = sorted(last.items())
        lengths = np.diff([0.0, *(end for _, end in ends)]) / np.diff([-1, *(epoch for epoch, _ in ends)])
        # the last epoch may have been cut; a validation ends a whole one
        if len(ends) > 1 and lengths[-1] < 0.9 * np.median(lengths[:-1]):
            epoch, _ = ends.pop()
            ends.append((epoch, ends[-1][1] + float(np.median(lengths[:-1]))))
        self.unit = "epoch" if ends else "step"
        # of all charts alike: they are read side by side, and a curve of one epoch has but one validation
        self.limits = (0.0, ends[-1][0] + 1.02) if ends else None
        self._steps = np.array([0.0, *(end for _, end in ends)])
        self._epochs = np.array([0.0, *(epoch + 1.0 for epoch, _ in ends)])

    def __call__(self, steps: np.ndarray) -> np.ndarray:
        return np.interp(steps + 1, self._steps, self._epochs) if self.unit == "epoch" else steps


def _read_logs(metrics_csv: Sequence[Path]) -> list[dict[str, str]]:
    """Return the rows of all logs, without those that a resumed run repeated."""
    rows: list[dict[str, str]] = []
    for file in metrics_csv:
        part = _read_rows(file)
        # a log without training comes from a later evaluation, whose steps start at 0 again
        if any(name.startswith(("train/", "lr-")) for row in part[:1] for name in row):
            # steps after the checkpoint that a run was resumed from are repeated in the next log
            first = min(float(row["step"]) for row in part)
            rows = [row for row in rows if float(row["step"]) < first] + part
    return rows


def _columns(rows: Sequence[dict[str, str]]) -> dict[str, _Logged]:
    """Return the values of each column, without blank and non-finite cells."""
    logged = {}
    for name in sorted({name for row in rows for name in row} - {"step", "epoch"}):
        points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
        points = sorted(point for point in points if math.isfinite(point[1]))
        if points:
            logged[name] = _Logged(np.array([x for x, _ in points]), np.array([y for _, y in points]))
    return logged


def _read_rows(metrics_csv: Path) -> list[dict[str, str]]:
    if not metrics_csv.is_file():
        raise FileNotFoundError(
            f"{metrics_csv} does not exist; expected the metrics.csv of a CSV logger. "
            "Add the logger to the run, or write the report without training curves."
        )
    with metrics_csv.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or ()
        if "step" not in names:
            raise ValueError(
                f"{metrics_csv}: its columns are {', '.join(names) or 'none'}, but a metrics.csv has "
                "one named step; give that file."
            )
        return [row for row in reader if row["step"]]


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbors until no more than `_MAX_POINTS` points are left."""
    if len(x) <= _MAX_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), _MAX_POINTS)
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])
