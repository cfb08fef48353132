"""The contenders of a task in turn: training steps, inference and memory."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from vertebra.tools.benchmarks.table import RATIO, Table
from vertebra.tools.benchmarks.tasks import TASKS, Task
from vertebra.tools.benchmarks.timing import (
    Contender,
    Spread,
    inference,
    memory_of_a_step,
    ratios,
    time_in_turn,
    training_step,
)

SPEEDS = ("training step, s", f"training{RATIO}", "inference, s", f"inference{RATIO}")


def table_of(name: str, backbone: str, batch: int, size: tuple[int, ...], rounds: int) -> Table:
    """Time a task's contenders; ratios are to the first, which is the peer's network as it comes.

    Args:
        name: of the task.
        backbone: of the network.
        batch: inputs in a batch.
        size: of an input, with frames first if it is a clip.
        rounds: that count.
    """
    task = TASKS[name]
    entries = importlib.import_module(f"vertebra.tools.benchmarks.{name}").contenders(backbone, batch, size)
    speeds = speeds_of(entries, rounds)
    memory = [memory_of_a_step(entry) for entry in entries]
    table = Table(
        title_of(task, backbone, batch, size),
        (*SPEEDS, "memory, MiB", "of the first, %"),
        ("torch", *task.peers),
        rounds,
        notes=(task.note,),
    )
    for entry, cells, peak in zip(entries, speeds, memory, strict=True):
        table.rows[entry.name] = (*cells, peak, 100 * peak / memory[0])
    return table


def title_of(task: Task, backbone: str, batch: int, size: tuple[int, ...]) -> str:
    """Return the network and the shape of its inputs as a title says them."""
    return f"{task.network}, {backbone}, {' x '.join(map(str, (batch, task.shape[0], *size)))}"


def speeds_of(entries: Sequence[Contender], rounds: int) -> list[tuple[Spread, ...]]:
    """Time training steps and then inference in turn; return the cells of `SPEEDS` for each, ratios to the first."""
    works = [entry.build() for entry in entries]
    trained = time_in_turn([training_step(*pair) for pair in zip(entries, works, strict=True)], rounds)
    used = time_in_turn([inference(*pair) for pair in zip(entries, works, strict=True)], rounds)
    return [
        (Spread.of(training), ratios(training, trained[0]), Spread.of(using), ratios(using, used[0]))
        for training, using in zip(trained, used, strict=True)
    ]
