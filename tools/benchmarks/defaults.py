"""What each of our defaults gives, one after another, for the network of a task."""

from __future__ import annotations

import importlib
import shutil
from functools import partial

from vertebra.tools.benchmarks.networks import SPEEDS, speeds_of, title_of
from vertebra.tools.benchmarks.table import Table
from vertebra.tools.benchmarks.tasks import TASKS
from vertebra.tools.benchmarks.timing import Contender

COMPILERS = ("g++", "clang++", "cl")  # one of which torch.compile needs


def contenders(name: str, backbone: str) -> list[Contender]:
    """Return our network in float32, then with one choice more at a time: our defaults, and behind them `compile_mode`.

    Args:
        name: of the task.
        backbone: of the network.
    """
    task = TASKS[name]
    workload = importlib.import_module(f"vertebra.tools.benchmarks.{name}").workload
    inputs = {"backbone": backbone, "batch": task.batch, "size": task.size}
    plain, channels_last = (partial(workload, True, fast, **inputs) for fast in (False, True))
    entries = [
        Contender("float32", plain, bf16=False),
        Contender("channels_last", channels_last, bf16=False),
        Contender("and bf16", channels_last, bf16=True),
        Contender("and fused, folded: the defaults", channels_last, bf16=True, folded=True, fused=True),
    ]
    if any(shutil.which(compiler) for compiler in COMPILERS):
        name = "and compiled: compile_mode=default"
        entries.append(Contender(name, channels_last, bf16=True, folded=True, fused=True, compiled=True))
    return entries


def table_of(name: str, rounds: int) -> Table:
    """Time our network of a task with its last backbone; ratios are to float32.

    Args:
        name: of the task.
        rounds: that count.
    """
    task = TASKS[name]
    backbone = task.backbones[-1]
    entries = contenders(name, backbone)
    note = "Optimizers are fused and parts compiled for training; norms are folded for inference."
    title = f"our {title_of(task, backbone, task.batch, task.size)}, one choice after another"
    table = Table(title, SPEEDS, ("torch",), rounds, notes=(note,))
    for entry, cells in zip(entries, speeds_of(entries, rounds), strict=True):
        table.rows[entry.name] = cells
    return table
