"""Crash safety: a run that is killed or stopped at any moment and resumed equals the uninterrupted run bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_script(name: str, *arguments: object) -> str:
    """Run a script beside this file and return its last line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    print(result.stdout)
    return result.stdout.splitlines()[-1]


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    assert run_script("killed_runs.py", tmp_path, 2, "classification").startswith("2 kills in ")


@pytest.mark.slow
def test_runs_of_every_task_resume_bit_for_bit_after_fifty_kills(tmp_path):
    assert run_script("killed_runs.py", tmp_path, 50).startswith("50 kills in ")


@pytest.mark.slow
def test_a_second_signal_ends_a_run_at_once_and_keeps_its_checkpoint(tmp_path):
    last = run_script("interrupted_runs.py", tmp_path, 20, "classification", "segmentation", "medical")
    assert last.startswith("20 trials in ")


@pytest.mark.slow
def test_runs_of_two_processes_resume_bit_for_bit(tmp_path):
    assert run_script("killed_pairs.py", tmp_path, "classification", "segmentation").endswith("; 0 differences")
