"""Benchmark of a task's networks: training step, inference and peak memory."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from vertebra.tools.benchmarks.table import SPEEDUP, Table
from vertebra.tools.benchmarks.tasks import DETECTORS, TASKS, Task
from vertebra.tools.benchmarks.timing import (
    Contender,
    Spread,
    inference,
    peak_memory,
    speedups,
    time_interleaved,
    training_step,
)

TIMES = ("training step, s", f"training {SPEEDUP}", "inference, s", f"inference {SPEEDUP}")


def measure(
    name: str, backbone: str, batch: int, size: tuple[int, ...], rounds: int, detector: str | None = None
) -> Table:
    """Measure all contenders of a task; speedups are over the first, the peer's network in float32.

    Args:
        name: name of the task.
        backbone: name of the backbone.
        batch: batch size.
        size: (H, W), (T, H, W) or (D, H, W) of an input.
        rounds: number of measured rounds.
        detector: key of `DETECTORS`, for the task of detection.
    """
    task = TASKS[name] if detector is None else DETECTORS[detector]
    choice = {} if detector is None else {"network": detector}
    entries = importlib.import_module(f"vertebra.tools.benchmarks.{name}").contenders(backbone, batch, size, **choice)
    times = measure_times(entries, rounds)
    # after the timing, since the processes of this measurement would compete for the cores
    memory = [peak_memory(entry) for entry in entries]
    table = Table(
        format_title(task, backbone, batch, size),
        (*TIMES, "peak memory, MiB", "relative memory, %"),
        ("torch", *task.peers),
        rounds,
        notes=(task.note,),
    )
    for entry, cells, peak in zip(entries, times, memory, strict=True):
        table.rows[entry.name] = (*cells, peak, 100 * peak / memory[0])
    return table


def format_title(task: Task, backbone: str, batch: int, size: tuple[int, ...]) -> str:
    """Return a table title with the network, the backbone and the input shape."""
    return f"{task.network}, {backbone}, {' x '.join(map(str, (batch, task.shape[0], *size)))}"


def measure_times(entries: Sequence[Contender], rounds: int) -> list[tuple[Spread, ...]]:
    """Time training steps, then inference, interleaved; return the cells of `TIMES` of each contender."""
    works = [entry.build() for entry in entries]
    training = time_interleaved([training_step(*pair) for pair in zip(entries, works, strict=True)], rounds)
    # after training, so that the folded copies hold the same weights as the rest
    infer = time_interleaved([inference(*pair) for pair in zip(entries, works, strict=True)], rounds)
    return [
        (Spread.of(step), speedups(step, training[0]), Spread.of(run), speedups(run, infer[0]))
        for step, run in zip(training, infer, strict=True)
    ]
