"""Benchmark of a GPU: training steps and inference beside the peers', with memory, waits, start, and their limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from vertebra.tasks.training.cuda_graphs import RECORD_AT
from vertebra.tools.benchmarks.device import PRODUCT_SIZE, Device, count_flop
from vertebra.tools.benchmarks.gpu_cases import CASES, Case, contenders
from vertebra.tools.benchmarks.table import SPEEDUP, Table
from vertebra.tools.benchmarks.timing import (
    Contender,
    Spread,
    inference,
    speedups,
    time_interleaved,
    training_step,
)

REASON_LENGTH = 200  # characters of the error of a contender that failed


class _Runner(NamedTuple):
    """A contender that has warmed up.

    Attributes:
        run: one training step, or inference of one batch.
        peak: of the second step without what the other contenders hold, MiB.
        waits: of the host for the GPU, in a later step.
        first: seconds of the first step: with compiling, and the choice of kernels for shapes not seen before.
    """

    run: Callable[[], None]
    peak: float
    waits: int
    first: float


def measure(
    only: Sequence[str] | None, rounds: int, seconds: float, compiled: bool = True, cases: dict[str, Case] | None = None
) -> Iterator[Table]:
    """Measure each case, its contenders in turn; speedups are over the peer in the same precision.

    Args:
        only: names of the cases, in this order; None for all.
        rounds: number of measured rounds.
        seconds: after which nothing further is started; what is left out is named in a note.
        compiled: whether ours is also measured compiled.
        cases: to choose from; `CASES` if not given.

    Raises:
        ValueError: a name in `only` is not among the cases, or there is no GPU for those of `CASES`.
    """
    device, known = Device(), cases or CASES
    if unknown := sorted(set(only or ()) - set(known)):
        raise ValueError(f"{', '.join(unknown)} is not a case of this benchmark; choose from {', '.join(known)}.")
    if cases is None and not device.is_gpu:
        raise ValueError(
            "there is no CUDA device, and the sizes of this benchmark are those of a GPU; the other benchmarks of "
            "`vertebra benchmark` have sizes for a CPU."
        )
    end = time.perf_counter() + seconds
    rate = device.product_rate(PRODUCT_SIZE if device.is_gpu else 256)
    for name in only or known:
        if time.perf_counter() < end:
            yield _measure(known[name], rounds, end, compiled, device, rate)
        else:
            print(f"{name} is left out: {seconds:.0f} seconds are over.", flush=True)


def _measure(case: Case, rounds: int, end: float, compiled: bool, device: Device, rate: float) -> Table:
    runners: dict[str, _Runner] = {}
    notes, flop = [], 0
    for entry in contenders(case, compiled):
        if runners and time.perf_counter() > end:
            notes.append(f"{entry.name} is left out: the time is over.")
            continue
        try:
            runners[entry.name] = _warmed_up(entry, case, device)
            if not flop and entry.name == "ours":
                flop = count_flop(runners[entry.name].run)
        except Exception as error:  # whatever a library raises: the others are still worth their time
            notes.append(f"{entry.name} failed: {type(error).__name__}: {str(error)[:REASON_LENGTH]}")
    table = Table(
        case.full_title,
        (
            "ms",
            f"{case.unit}/s",
            SPEEDUP,
            "peak memory, MiB",
            "waits",
            "first step, s",
            "limit, ms",
            "of the limit, %",
        ),
        ("torch", "torchvision", case.peer),
        rounds,
        notes=notes,
    )
    times = dict(zip(runners, time_interleaved([runner.run for runner in runners.values()], rounds), strict=True))
    limit = 1000 * flop / rate
    for name, runner in runners.items():
        ms = Spread.of([1000 * x for x in times[name]])
        table.rows[name] = (
            ms,
            Spread.of([case.batch / x for x in times[name]]),
            speedups(times[name], next(iter(times.values()))),
            runner.peak,
            runner.waits,
            Spread.of([runner.first]),
            Spread.of([limit]),
            100 * limit / ms.median,
        )
    notes.append(
        f"limit: {flop / 1e12:.4g} TFLOP at the {rate / 1e12:.4g} TFLOP/s of a product of bfloat16 matrices, whose "
        "operands are read once; the same for all rows."
    )
    runners.clear()
    device.release()
    return table


def _warmed_up(entry: Contender, case: Case, device: Device) -> _Runner:
    before = device.allocated()
    work = entry.build()
    run = (training_step if case.training else inference)(entry, work)
    started = time.perf_counter()
    run()
    first = time.perf_counter() - started
    # the optimizer allocates its state in the first step, so the peak is in the second
    peak = device.peak(run) - before
    for _ in range(RECORD_AT - 2):  # graphs are recorded at this call, with waits
        run()
    waits = device.waits(run)
    if case.training and not work.loss().isfinite():
        raise ValueError("the loss is not finite, so the work is not that of a training.")
    return _Runner(run, peak, waits, first)
