"""A process in which Triton interprets kernels on a CPU, which is chosen on import."""

from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from statistics import median

import pytest
import torch


@pytest.fixture(scope="session")
def interpreted():
    """A function that returns what a function of a file of kernels returns in the interpreter."""
    pytest.importorskip("triton")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:

        def run(name, function, *arguments):
            kernels = import_module(name)
            return process.submit(getattr(kernels, function), *arguments).result()

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            process.submit(bool).result()  # the process starts, and takes the environment along
        yield run


@pytest.fixture
def gpu_time():
    """A function that returns the median time of another one on the GPU, in milliseconds."""

    def measure(function, repeats=10):
        times = []
        for _ in range(repeats + 3):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            function()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        return median(times[3:])

    return measure
