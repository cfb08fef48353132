"""Crash test: a run of two processes (DDP on the CPU), killed or stopped and resumed, must equal the uninterrupted run.

`python killed_pairs.py FOLDER [TASK...]` kills a run of each task with SIGKILL, stops it with SIGTERM to its first and
then to its second process, and resumes it after each. The exit code is 1 if weights, optimizer, averaged weights or
metrics differ from those of a run of two processes without an interruption.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from crash_configs import RUNS, prepare
from crash_contents import content, differences, rows, step_of

FLAGS = ("--trainer.max_epochs=4", "--trainer.devices=2", "--trainer.strategy=ddp", "--ckpt_path=last")


def start(root, folder):
    """Start a run as a user does, in a process group of its own; Lightning starts the second process."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "vertebra.tools.main", "fit", "-c", str(root / "run.yaml"), *FLAGS]
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def wait_for_step(process, folder, step):
    """Wait until the last checkpoint has reached a step."""
    while step_of(folder) < step:
        if process.poll() is not None:
            raise RuntimeError(f"ended before step {step}: {(folder / 'log.txt').read_text()[-2000:]}")
        time.sleep(0.01)


def second_process(first):
    """Return the id of the process that Lightning started beside the first one."""
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    (found,) = (int(child) for child in children if b"LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_bytes())
    return found


def finish(process, folder, code):
    """Wait for the end of a run, and check its exit code."""
    if (found := process.wait(timeout=300)) != code:
        raise RuntimeError(f"exit code {found}, not {code}: {(folder / 'log.txt').read_text()[-2000:]}")


def kill_stop_and_resume(root):
    """Interrupt a run three times and return where it differs from an uninterrupted one."""
    whole, cut = root / "whole", root / "cut"
    finish(start(root, whole), whole, 0)
    process = start(root, cut)
    wait_for_step(process, cut, 2)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process, cut, -signal.SIGKILL)
    ends = [step_of(cut)]
    for find in (int, second_process):  # the process that gets the signal: the first, then the second
        process = start(root, cut)
        wait_for_step(process, cut, ends[-1] + 1)
        os.kill(find(process.pid), signal.SIGTERM)
        finish(process, cut, 128 + signal.SIGTERM)
        ends.append(step_of(cut))
    finish(start(root, cut), cut, 0)
    print(f"{root.name}: killed after step {ends[0]}, stopped after {ends[1]} and {ends[2]} of {step_of(cut)}")
    found = []
    for name in ("last", "best"):
        found += differences(content(whole, name), content(cut, name), name)
    return found + ([] if rows(whole) == rows(cut) else [f"metrics.csv differs: {rows(whole)} {rows(cut)}"])


def main(folder, *tasks):
    failures = []
    for task in tasks or RUNS:
        root = Path(folder) / task
        prepare(task, root)
        failures += [f"{task}: {place}" for place in kill_stop_and_resume(root)]
    print(*failures[:20], sep="\n")
    print(f"{len(tasks or RUNS)} runs of two processes; {len(failures)} differences")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
