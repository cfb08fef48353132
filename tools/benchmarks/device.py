"""Measurements that only a GPU has: its memory, the waits of the host, the rate of its matrix products."""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode

WAIT = "called a synchronizing"  # of PyTorch's warning
PRODUCT_SIZE = 8192  # rows and columns; large enough to reach the highest rate
REPEATS = 20


class Device:
    """The GPU, or the CPU, on which memory and waits are 0, so that a benchmark of a GPU can be tested without one."""

    def __init__(self) -> None:
        self.is_gpu = torch.cuda.is_available()
        self.kind = "cuda" if self.is_gpu else "cpu"

    def synchronize(self) -> None:
        """Wait until everything that was launched is done."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def allocated(self) -> float:
        """Return the memory that tensors have now, in MiB."""
        return torch.cuda.memory_allocated() / 2**20 if self.is_gpu else 0.0

    def peak(self, run: Callable[[], object]) -> float:
        """Run once and return the most memory that tensors had meanwhile, in MiB, with what was there before."""
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() / 2**20 if self.is_gpu else 0.0

    def waits(self, run: Callable[[], object]) -> int:
        """Run once and return how often the host waited for the GPU, by PyTorch's own warnings."""
        if not self.is_gpu:
            run()
            return 0
        with warnings.catch_warnings(record=True) as caught, captured_lines(WAIT) as printed:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                run()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        # those of operators in C++, such as torchvision's non-maximum suppression, are only printed
        return sum(WAIT in str(warning.message) for warning in caught) + len(printed)

    def release(self) -> None:
        """Release what earlier measurements hold: compiled code with its networks, and cached memory."""
        torch.compiler.reset()
        gc.collect()
        if self.is_gpu:
            torch.cuda.empty_cache()

    def product_rate(self, size: int = PRODUCT_SIZE) -> float:
        """Return the FLOP/s of a product of two square bfloat16 matrices, the median of some."""
        a, b = (torch.randn(size, size, device=self.kind, dtype=torch.bfloat16) for _ in range(2))
        seconds = []
        for _ in range(REPEATS):
            self.synchronize()
            started = time.perf_counter()
            a @ b
            self.synchronize()
            seconds.append(time.perf_counter() - started)
        return 2 * size**3 / statistics.median(seconds)


@contextmanager
def captured_lines(text: str) -> Iterator[list[str]]:
    """Yield a list that at the end has the lines with a text that the process, also its C++, wrote to standard error.

    All other lines are written to it at the end.
    """
    found: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield found
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file:
                if text in line:
                    found.append(line)
                else:
                    os.write(2, line.encode())


def count_flop(run: Callable[[], object]) -> int:
    """Run once and return the floating-point operations of its products and convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
