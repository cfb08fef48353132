"""A process in which Triton interprets kernels on a CPU; it decides so on import."""

from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context

import pytest


@pytest.fixture(scope="session")
def interpreted():
    """A function that returns what a function of a file of kernels returns in the interpreter."""
    pytest.importorskip("triton")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:

        def run(name, function, *arguments):
            kernels = import_module(f"vertebra.tasks.detection.kernels.{name}")
            return process.submit(getattr(kernels, function), *arguments).result()

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            process.submit(bool).result()  # the process starts, and takes the environment along
        yield run
