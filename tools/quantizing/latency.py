"""Latency of a network in float32 and in bf16, and of its files, in one alternating run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from vertebra.tools.benchmarks.timing import time_interleaved
from vertebra.tools.exporting.exported_network import folded

INT8, FLOAT = "int8 file", "float32 file"
_ROUNDS = 11
_SHORTEST = 0.05  # seconds of one measurement: a call that fits between two of other processes would seem faster


def measure_latency(
    eager: nn.Module, float_file: nn.Module, int8_file: nn.Module, inputs: Any, rounds: int = _ROUNDS
) -> dict[str, float]:
    """Return the median time of one forward pass in seconds.

    Args:
        eager: network of the run.
        float_file: network of the float32 file.
        int8_file: network of the int8 file.
        inputs: of all of them.
        rounds: in each of which all are run in turn.
    """
    fast = folded(eager).to(memory_format=torch.channels_last)

    def in_bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            fast(inputs)

    runs: dict[str, Callable[[], object]] = {
        INT8: lambda: int8_file(inputs),
        FLOAT: lambda: float_file(inputs),
        "eager float32": lambda: eager(inputs),
        "eager bf16": in_bf16,
    }

    with torch.inference_mode():
        calls = [max(1, round(_SHORTEST / _seconds(run))) for run in runs.values()]
        repeated = [partial(_repeat, run, count) for run, count in zip(runs.values(), calls, strict=True)]
        times = time_interleaved(repeated, rounds)
    return {name: statistics.median(seconds) / count for name, seconds, count in zip(runs, times, calls, strict=True)}


def _seconds(run: Callable[[], object]) -> float:
    """Return the shortest time of a few calls, the first of which prepares kernels."""
    found = []
    for _ in range(4):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found)


def _repeat(run: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        run()


def describe_latency(latency: dict[str, float], shape: tuple[int, ...]) -> str:
    """Return the times and their ratios to the float32 file, and a warning where int8 is no faster."""
    times = ", ".join(f"{name} {seconds * 1e3:.1f} ms" for name, seconds in latency.items())
    ratios = ", ".join(f"{name} {latency[INT8] / seconds:.2f}" for name, seconds in latency.items() if name != INT8)
    threads = torch.get_num_threads()
    line = (
        f"latency of an input {shape}, {threads} thread{'s' * (threads > 1)}, medians of one alternating run: {times}; "
        f"ratio of the int8 file to: {ratios}"
    )
    if latency[INT8] >= latency[FLOAT]:
        line += f"\nthe int8 file is slower than the float32 file, {latency[INT8] / latency[FLOAT]:.2f} times its time"
    return line
