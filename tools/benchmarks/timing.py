"""Interleaved timing, so that drift of the machine's speed affects all contenders alike, and peak memory."""

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
from vertebra.backbones.weight_precision import round_weights
from vertebra.tasks.training.compiling import compile_parts
from vertebra.tasks.training.memory_order import step_in_memory_order


class Workload(NamedTuple):
    """A network with its input.

    Attributes:
        network: on its device, in its memory format.
        loss: forward pass in training mode, returns the loss.
        infer: forward pass for inference; takes the network or a folded copy of it.
    """

    network: nn.Module
    loss: Callable[[], Tensor]
    infer: Callable[[nn.Module], object]


class Contender(NamedTuple):
    """One row of a benchmark.

    Attributes:
        name: title of the row.
        build: returns the workload; picklable (a partial of a module-level function), since peak memory is measured in
            another process.
        bf16: whether to use bfloat16 autocast.
        folded: whether to fold norms into convolutions for inference, as `vertebra test` and `predict` do.
        fused: whether to use the fused optimizer.
        compiled: whether to compile the parts of the network for training.
    """

    name: str
    build: Callable[[], Workload]
    bf16: bool
    folded: bool = False
    fused: bool = False
    compiled: bool = False


def peer_and_ours(peer: str, build: Callable[[bool, bool], Workload]) -> list[Contender]:
    """Return the peer's network and ours in float32, then both in the fast mode; see `both_precisions`.

    Args:
        peer: name of the other library.
        build: function of (ours, fast) that returns the workload; see `Contender.build`.
    """
    theirs = both_precisions(peer, partial(build, False))
    ours = both_precisions("ours", partial(build, True), folded=True)
    return [entry for pair in zip(theirs, ours, strict=True) for entry in pair]


def both_precisions(name: str, build: Callable[[bool], Workload], folded: bool = False) -> list[Contender]:
    """Return a network in float32, and in the fast mode: bfloat16 autocast, channels_last and the fused optimizer.

    Args:
        name: name of the library.
        build: function of (fast) that returns the workload; see `Contender.build`.
        folded: whether norms are folded for inference in the fast mode.
    """
    return [
        Contender(f"{name}, {mode}", partial(build, fast), bf16=fast, folded=folded and fast, fused=fast)
        for fast, mode in ((False, "float32"), (True, "bf16, channels_last"))
    ]


class Spread(NamedTuple):
    """Median, minimum and maximum of repeated measurements."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize one or more values."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.minimum:.2f} to {self.maximum:.2f})"


def training_step(contender: Contender, work: Workload) -> Callable[[], None]:
    """Return a function that runs one training step and synchronizes the device."""
    # fused=None and not False: torch then chooses between foreach and a plain loop, as it does for any user
    optimizer = torch.optim.SGD(work.network.parameters(), lr=1e-4, momentum=0.9, fused=contender.fused or None)
    step_in_memory_order(optimizer)  # for peers, too: the comparison is of networks and not of optimizers
    if contender.compiled:
        compile_parts(work.network)

    def step() -> None:
        work.network.train()  # every time: inference of the same network may have run in between
        with _precision(contender, work):
            loss = work.loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        _synchronize()

    return step


def inference(contender: Contender, work: Workload) -> Callable[[], None]:
    """Return a function that runs inference once and synchronizes the device."""
    network = work.network
    if contender.folded:
        network = copy.deepcopy(network).eval()  # folding is in place, and the original may still be trained
        fold_norms(network)
        round_weights(network, "bf16-mixed" if contender.bf16 else "32-true")

    def run() -> None:
        network.eval()
        with torch.inference_mode(), _precision(contender, work):
            work.infer(network)
        _synchronize()

    return run


WARM_UP = 2  # rounds that are not measured, in which kernels are selected, memory is allocated and caches are filled


def time_interleaved(runs: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Time each function once per round, all in turn, after the warm-up rounds.

    Returns:
        Seconds of each function in each round.
    """
    times: list[list[float]] = [[] for _ in runs]
    for number in range(WARM_UP + rounds):
        for run, seconds in zip(runs, times, strict=True):
            started = time.perf_counter()
            run()
            if number >= WARM_UP:
                seconds.append(time.perf_counter() - started)
    return times


def speedups(times: Sequence[float], reference: Sequence[float]) -> Spread:
    """Return the speedup over the reference, computed round by round: the two times of a round share its conditions."""
    return Spread.of([other / own for own, other in zip(times, reference, strict=True)])


@contextmanager
def one_core() -> Iterator[None]:
    """Pin this thread, and the threads and processes it starts, to one core.

    The affinity of threads that torch and OpenCV have already started does not change, so both are also limited to a
    single thread.
    """
    cores, threads, cv2_threads = os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()
    os.sched_setaffinity(0, {min(cores)})  # inherited by threads and processes started from here on
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv2_threads)


def peak_memory(contender: Contender) -> float:
    """Return the peak memory of two training steps in MiB, measured in a process of its own.

    On a GPU it is all memory that PyTorch allocated; on a CPU, the growth of the resident set over the built network.
    """
    # spawn: a forked child would inherit the parent's pages, and cannot use CUDA
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, contender, torch.get_num_threads()).result()


def _peak(contender: Contender, threads: int) -> float:
    torch.set_num_threads(threads)  # a new process starts with all cores, and buffers grow with threads
    work = contender.build()
    step = training_step(contender, work)
    gc.collect()  # garbage of the construction is not part of the baseline
    before = _memory("VmRSS")
    for _ in range(2):  # the optimizer allocates its state in the first step, so the peak is in the second
        step()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return _memory("VmHWM") - before


def _memory(field: str) -> float:
    """Read a field of Linux's /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def _precision(contender: Contender, work: Workload):  # type: ignore[no-untyped-def]
    device = next(work.network.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16) if contender.bf16 else nullcontext()


def _synchronize() -> None:
    # kernels run asynchronously: without this only their launch would be timed
    if torch.cuda.is_available():
        torch.cuda.synchronize()
