"""Crash test: a second Ctrl-C ends a run at once, and the checkpoint before it resumes bit for bit.

`python interrupted_runs.py FOLDER TRIALS [TASK...]` sends SIGINT to a run and all its processes, as a terminal does,
and SIGINT again: a random moment later, or while the checkpoint of the first one is being written. It prints a line
per trial. The exit code is 1 if a run continued after the second signal, or the checkpoint before it was lost.
"""

import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

from crash_configs import RUNS, prepare
from crash_contents import content, differences, rows, step_of
from killed_runs import Counter, finish, start, uninterrupted

MAX_SECONDS = 2.0  # from the second signal to the end of the process, on a busy machine
STOPPED = (-signal.SIGINT, 128 + signal.SIGINT, 0)  # by the second signal, by the first one, or finished before both


def has_ended(process):
    """Return whether a process has ended, without reaping it: its id must stay valid for signals."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def interrupt_twice(process, folder, step, delay, in_save):
    """Send two signals, the first one after a step.

    Returns:
        The exit code, the seconds from the second signal to the end, and the step that was saved before the first.
    """
    part = folder / "run/checkpoints/last.ckpt.part"
    while Counter.steps.value < step and not has_ended(process):
        time.sleep(0.001)
    saved = step_of(folder)
    os.killpg(process, signal.SIGINT)
    deadline = time.monotonic() + (10.0 if in_save else delay)
    while time.monotonic() < deadline and not has_ended(process) and not (in_save and part.exists()):
        time.sleep(0.0005)
    second = time.monotonic()
    os.killpg(process, signal.SIGINT)
    code = finish(process)
    return code, time.monotonic() - second, saved


def trial(task, root, folder, in_save, rng):
    """Resume a run, interrupt it twice, and return its exit code and the failures."""
    Counter.steps.value = 0
    step = step_of(folder) + rng.randrange(1, 4)
    process = start(root / "run.yaml", folder, "--ckpt_path", "last", slow_disk=True)
    os.setpgid(process, process)
    code, seconds, before = interrupt_twice(process, folder, step, rng.uniform(0.0, 0.3), in_save)
    after = step_of(folder)  # raises if the file is damaged
    print(f"{task}: exit code {code} {seconds:.3f} s after the second signal; saved step {before}, then {after}")
    failures = [f"exit code {code}"] if code not in STOPPED else []
    continued = code == -signal.SIGINT and seconds > MAX_SECONDS
    failures += [f"the run continued for {seconds:.1f} s"] if continued else []
    failures += [f"the checkpoint of step {before} was lost for {after}"] if after < before else []
    return code, failures


def main(folder, trials, *tasks):
    warnings.filterwarnings("ignore")
    rng, failures, killed, runs = random.Random(int(os.environ.get("KILL_SEED", "0"))), [], 0, 0
    tasks = tasks or tuple(RUNS)
    done = 0
    while done < int(trials):
        task = tasks[runs % len(tasks)]
        root = Path(folder) / task
        if not root.exists():
            prepare(task, root)
        reference, run = uninterrupted(root), root / f"interrupted_{runs}"
        run.mkdir()
        code = None
        for _ in range(5):
            if code == 0 or done == int(trials):
                break
            code, found = trial(task, root, run, done % 2 == 1, rng)
            done, killed, failures = done + 1, killed + (code == -signal.SIGINT), failures + found
        if code := finish(start(root / "run.yaml", run, "--ckpt_path", "last")):
            failures.append(f"exit code {code}: {(run / 'log.txt').read_text()[-2000:]}")
        else:
            failures += differences(content(reference, "last"), content(run, "last"), task)
            failures += [] if rows(reference) == rows(run) else [f"{task}: metrics.csv differs"]
        runs += 1
    # Python handles a signal after the current kernel: two within one count as one, and the run stops gracefully
    if 2 * killed < done:
        failures.append(f"only {killed} of {done} runs were ended by the second signal")
    print(*failures[:10], sep="\n")
    print(f"{done} trials in {runs} runs, {killed} ended by the second signal; {len(failures)} failures")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
