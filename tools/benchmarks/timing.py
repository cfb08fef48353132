"""Times networks in turn, so that a machine whose speed drifts is fair to each, and weighs their memory alone."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import torch
from torch import Tensor, nn

from vertebra.backbones.folding import fold_norms
from vertebra.tasks.training.compiling import compile_parts


class Workload(NamedTuple):
    """A network that is ready to run.

    Attributes:
        network: with weights and memory format set, on its device.
        loss: one forward pass for training.
        infer: one forward pass of the network it is given, or of a folded copy, for use.
    """

    network: nn.Module
    loss: Callable[[], Tensor]
    infer: Callable[[nn.Module], object]


class Contender(NamedTuple):
    """One row of a benchmark.

    Attributes:
        name: as the table shows it.
        build: makes the workload; it is sent to another process to weigh it, so it is a partial of a plain function.
        bf16: whether it runs under bfloat16 autocast.
        folded: whether its norms are folded for use, as `vertebra test` and `predict` do.
        fused: whether the optimizer's step is one kernel.
        compiled: whether its parts are compiled for training.
    """

    name: str
    build: Callable[[], Workload]
    bf16: bool
    folded: bool = False
    fused: bool = False
    compiled: bool = False


def both_ways(peer: str, build: Callable[[bool, bool], Workload]) -> list[Contender]:
    """Return a peer's network and ours in turn, in plain and then in fast mode; the norms of ours are folded for use.

    Args:
        peer: its name.
        build: a plain function, or a partial of one, of whether it is ours and whether it is fast.
    """
    theirs, ours = in_both_modes(peer, partial(build, False)), in_both_modes("ours", partial(build, True), folded=True)
    return [entry for pair in zip(theirs, ours, strict=True) for entry in pair]


def in_both_modes(name: str, build: Callable[[bool], Workload], folded: bool = False) -> list[Contender]:
    """Return a network in plain and in fast mode: float32, and bfloat16 with channels last.

    Args:
        name: of the network or whose it is.
        build: a plain function, or a partial of one, of whether it is fast.
        folded: whether its norms are folded for use in fast mode.
    """
    return [
        Contender(f"{name}, {mode}", partial(build, fast), bf16=fast, folded=folded and fast)
        for fast, mode in ((False, "float32"), (True, "bf16, channels_last"))
    ]


class Spread(NamedTuple):
    """The median of several measurements, and how far they were apart."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def training_step(contender: Contender, work: Workload) -> Callable[[], None]:
    """Return a function that takes one training step and waits for it."""
    # None leaves it to torch
    optimizer = torch.optim.SGD(work.network.parameters(), lr=1e-4, momentum=0.9, fused=contender.fused or None)
    if contender.compiled:
        compile_parts(work.network)

    def step() -> None:
        work.network.train()
        with _precision(contender, work):
            loss = work.loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        _wait()

    return step


def inference(contender: Contender, work: Workload) -> Callable[[], None]:
    """Return a function that runs the network once as it is used, and waits for it."""
    network = work.network
    if contender.folded:
        network = copy.deepcopy(network).eval()
        fold_norms(network)

    def run() -> None:
        network.eval()
        with torch.inference_mode(), _precision(contender, work):
            work.infer(network)
        _wait()

    return run


def time_in_turn(runs: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Run each in turn, two rounds that do not count (they choose kernels and fill caches) and then `rounds` that do.

    Returns:
        For each, its seconds in each round.
    """
    times: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 2):
        for run, taken in zip(runs, times, strict=True):
            started = time.perf_counter()
            run()
            if number >= 2:
                taken.append(time.perf_counter() - started)
    return times


def ratios(times: Sequence[float], others: Sequence[float]) -> Spread:
    """Return how many times as fast as `others` the first are, round by round."""
    return Spread.of([other / own for own, other in zip(times, others, strict=True)])


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and the threads and processes that it starts, on one core, and let no library use more.

    Torch and OpenCV may have started threads before, which stay where they are: they are told to use none of them.
    """
    cores, threads, cv2_threads = os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv2_threads)


def memory_of_a_step(contender: Contender) -> float:
    """Return by how many MiB two training steps raise the peak memory, in a process of their own (on a GPU, of it)."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, contender, torch.get_num_threads()).result()


def _peak(contender: Contender, threads: int) -> float:
    torch.set_num_threads(threads)
    work = contender.build()
    step = training_step(contender, work)
    gc.collect()
    before = _memory("VmRSS")
    for _ in range(2):
        step()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return _memory("VmHWM") - before


def _memory(field: str) -> float:
    """Read a size in MiB of what Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def _precision(contender: Contender, work: Workload):  # type: ignore[no-untyped-def]
    device = next(work.network.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16) if contender.bf16 else nullcontext()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
