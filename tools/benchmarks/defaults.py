"""Ablation of our default settings: speedup of each as it is added to plain float32."""

from __future__ import annotations

import importlib
import shutil
from functools import partial

from vertebra.tools.benchmarks.networks import TIMES, format_title, measure_times
from vertebra.tools.benchmarks.table import Table
from vertebra.tools.benchmarks.tasks import TASKS
from vertebra.tools.benchmarks.timing import Contender

COMPILERS = ("g++", "clang++", "cl")  # torch.compile needs one of these for CPU code


def contenders(name: str, backbone: str) -> list[Contender]:
    """Return our network in float32, then with one more setting at a time: all defaults, and `compile_mode` last.

    Args:
        name: name of the task.
        backbone: name of the backbone.
    """
    task = TASKS[name]
    # imported by name: the contenders of a task need its own optional packages
    workload = importlib.import_module(f"vertebra.tools.benchmarks.{name}").workload
    inputs = {"backbone": backbone, "batch": task.batch, "size": task.size}
    plain, channels_last = (partial(workload, True, fast, **inputs) for fast in (False, True))
    entries = [
        Contender("float32", plain, bf16=False),
        Contender("channels_last", channels_last, bf16=False),
        Contender("+ bf16", channels_last, bf16=True),
        Contender("+ fused optimizer, folded norms (defaults)", channels_last, bf16=True, folded=True, fused=True),
    ]
    if any(shutil.which(compiler) for compiler in COMPILERS):
        name = "+ compile_mode=default"
        entries.append(Contender(name, channels_last, bf16=True, folded=True, fused=True, compiled=True))
    return entries


def measure(name: str, rounds: int) -> Table:
    """Measure our network of a task with its last backbone; speedups are over float32.

    Args:
        name: name of the task.
        rounds: number of measured rounds.
    """
    task = TASKS[name]
    backbone = task.backbones[-1]
    entries = contenders(name, backbone)
    note = "The fused optimizer and compilation apply to training, folded norms to inference."
    title = f"our {format_title(task, backbone, task.batch, task.size)}, settings added one by one"
    table = Table(title, TIMES, ("torch",), rounds, notes=(note,))
    for entry, cells in zip(entries, measure_times(entries, rounds), strict=True):
        table.rows[entry.name] = cells
    return table
