import os
import signal
import subprocess
import sys

import pytest

from vertebra.tools.run_lock import RunLock

# a process that holds the folder and has a child, as a run has loader processes
HOLDER = """
import os, sys, time
from pathlib import Path
from vertebra.tools.run_lock import RunLock
with RunLock() as lock:
    lock.hold(Path(sys.argv[1]))
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_a_folder_holds_one_run_and_a_killed_run_lets_go(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    child = int(holder.stdout.readline())
    refused = f"run: process {holder.pid} trains in this folder; wait"
    with RunLock() as lock, pytest.raises(ValueError, match=refused):
        lock.hold(tmp_path / "run")
    holder.kill()
    holder.wait()
    os.kill(child, 0)  # the child lives
    with RunLock() as lock:
        lock.hold(tmp_path / "run")
    os.kill(child, signal.SIGKILL)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    refused = r"file: no run can be written there .*default_root_dir"
    with RunLock() as lock, pytest.raises(ValueError, match=refused):
        lock.hold(tmp_path / "file")
