import os
import signal
import subprocess
import sys

import pytest

from vertebra.tools.experiment.run_lock import RunLock

# a process that holds the lock and has a child, as a run has loader processes
HOLDER = """
import os, sys, time
from pathlib import Path
from vertebra.tools.experiment.run_lock import RunLock
with RunLock() as lock:
    lock.acquire(Path(sys.argv[1]))
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_locked_by_one_run_and_released_when_it_is_killed(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    child = int(holder.stdout.readline())
    refused = f"run: process {holder.pid} is training in this folder; wait"
    with RunLock() as lock, pytest.raises(ValueError, match=refused):
        lock.acquire(tmp_path / "run")
    holder.kill()
    holder.wait()
    os.kill(child, 0)  # the child is still running, without the lock
    with RunLock() as lock:
        lock.acquire(tmp_path / "run")
    os.kill(child, signal.SIGKILL)


def test_an_unwritable_folder_is_a_user_error(tmp_path):
    (tmp_path / "file").touch()
    refused = r"file: a run cannot be written there .*default_root_dir"
    with RunLock() as lock, pytest.raises(ValueError, match=refused):
        lock.acquire(tmp_path / "file")
