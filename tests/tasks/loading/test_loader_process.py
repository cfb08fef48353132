"""Loader processes survive signals that are meant for the training process, and end with it."""

import signal
import subprocess
import sys

import pytest

READS_A_PART = """
import os, signal, subprocess
from torch.utils.data import DataLoader
from vertebra.tasks.loading.loader_process import begin_loader_process

batches = iter(DataLoader(range(64), num_workers=1, worker_init_fn=begin_loader_process))
next(batches)
for _ in range(2):
    subprocess.run(["kill", "-TERM", str(batches._workers[0].pid)], check=True)
    assert [int(next(batches)) for _ in range(20)]
"""


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the system does not say who sent a signal")
@pytest.mark.parametrize("end", [pytest.param("", marks=pytest.mark.slow), "raise ValueError('within an epoch')"])
def test_python_exits_within_an_epoch(end):
    command = [sys.executable, "-c", READS_A_PART + end]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == (1 if end else 0), done.stderr
    assert done.stderr.count("Error") == (1 if end else 0), done.stderr
