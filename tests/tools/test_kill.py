"""Crash safety: a run killed at any moment and resumed equals the uninterrupted run bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_runs.py")


def killed_runs(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SCRIPT), str(folder), *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    print(result.stdout)
    return result.stdout


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    output = killed_runs(tmp_path, "3", "classification")
    assert output.splitlines()[-1].startswith("3 kills in ")


@pytest.mark.slow
def test_runs_of_every_task_resume_bit_for_bit_after_fifty_kills(tmp_path):
    output = killed_runs(tmp_path, "50")
    assert output.splitlines()[-1].startswith("50 kills in ")
