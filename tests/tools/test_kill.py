"""A run that is killed at any moment and resumed is the run that was never killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_runs.py")


def killed_runs(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SCRIPT), str(folder), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return done.stdout


def test_three_kills(tmp_path):
    output = killed_runs(tmp_path, "3", "classification")
    assert output.splitlines()[-1].startswith("3 kills in ")


@pytest.mark.slow
def test_fifty_kills_in_every_task(tmp_path):
    output = killed_runs(tmp_path, "50")
    assert output.splitlines()[-1].startswith("50 kills in ")
