"""Crash test: runs killed by SIGKILL at random moments and inside saves must resume bit for bit.

`python killed_runs.py FOLDER KILLS [TASK...]` prints a line per kill and per run. The exit code is 1 if a resumed run
differs from the uninterrupted one in a single bit, or if a kill lost more steps than saves may be pending. Runs are
forked processes, so that the libraries are imported only once.
"""

import os
import random
import signal
import sys
import time
import traceback
import warnings
from importlib import import_module
from multiprocessing import RawValue
from pathlib import Path

from crash_configs import RUNS, prepare
from crash_contents import content, differences, points, rows, step_of
from lightning.pytorch import Callback

from vertebra.tools import main as command
from vertebra.tools import train

# steps since the last checkpoint, with a save per step: the current one, two pending writes and one in progress
MAX_LOST_STEPS = 4
KILLS_PER_RUN = 5


class Counter(Callback):
    """Publishes the number of optimizer steps to the parent process."""

    steps = RawValue("i", 0)  # shared memory, inherited by fork

    def on_train_batch_end(self, trainer, *args):
        Counter.steps.value = trainer.global_step


def start(config, folder, *flags, slow_disk=False):
    """Start a run in a forked process and return its process id."""
    sys.stdout.flush()  # buffered output would be printed by both processes
    process = os.fork()
    if process:
        return process
    code = 70  # EX_SOFTWARE, of an unhandled exception
    try:
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        if slow_disk:
            # widens the window in which a partial file exists
            fsync = os.fsync
            os.fsync = lambda file: (time.sleep(0.05), fsync(file))
        instantiate = train.VertebraCLI.instantiate_trainer

        def with_counter(cli, **options):
            trainer = instantiate(cli, **options)
            trainer.callbacks.append(Counter())
            return trainer

        train.VertebraCLI.instantiate_trainer = with_counter
        code = train.main(["fit", "-c", str(config), *flags])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)  # not sys.exit: the child must not run on in the code of the parent


def finish(process):
    """Wait for a run and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill(process, folder, step, delay, in_save):
    """Kill a run a delay after a step, with `in_save` inside its next save; return False if it ended before."""
    deadline, part_file = None, folder / "run/checkpoints/last.ckpt.part"
    while deadline is None or time.monotonic() < deadline or (in_save and not part_file.exists()):
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        if deadline is None and Counter.steps.value >= step:
            deadline = time.monotonic() + delay
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def uninterrupted(root):
    """Run a task once without a kill and return its folder; later calls reuse it."""
    folder = root / "uninterrupted"
    if not folder.exists():
        folder.mkdir()
        if code := finish(start(root / "run.yaml", folder)):
            raise RuntimeError(f"exit code {code}: {(folder / 'log.txt').read_text()[-2000:]}")
    return folder


def kill_and_resume(task, root, kills, rng):
    """Kill and resume a run several times, let it finish, and return (kills, failures against `uninterrupted`)."""
    config, reference = root / "run.yaml", uninterrupted(root)
    folder, failures, killed = root / "killed", [], 0
    folder.mkdir()
    while killed < kills:
        Counter.steps.value = 0
        steps = rng.randrange(6)  # 0: during startup
        in_save = killed % 2 == 1
        process = start(config, folder, "--ckpt_path", "last", slow_disk=in_save)
        step = step_of(folder) + steps if steps else 0
        if not kill(process, folder, step, rng.uniform(0.0, 0.3 if steps else 3.0), in_save):
            break  # the run finished first
        killed += 1
        done, saved = Counter.steps.value, step_of(folder)
        kind = "in a save" if in_save else "anywhere"
        print(f"{task}: killed {kind} after step {done}, resumes after step {saved}", flush=True)
        if done - saved > MAX_LOST_STEPS:
            failures.append(f"{done - saved} steps were lost")
    if code := finish(start(config, folder, "--ckpt_path", "last")):
        failures.append(f"exit code {code}: {(folder / 'log.txt').read_text()[-2000:]}")
        return killed, failures
    for name in ("last", "best"):
        failures += differences(content(reference, name), content(folder, name), name)
    if rows(reference) != rows(folder):
        failures.append(f"metrics.csv differs: {rows(reference)} {rows(folder)}")
    failures += differences(points(reference), points(folder), "TensorBoard")
    partial = [str(file) for pattern in ("*.part", ".*.draft.*") for file in folder.rglob(pattern)]
    return killed, failures + [f"partial file remains: {file}" for file in partial]


def main(folder, kills, *tasks):
    warnings.filterwarnings("ignore")
    rng, done, equal, runs = random.Random(int(os.environ.get("KILL_SEED", "0"))), 0, 0, 0
    for task in tasks or RUNS:
        prepare(task, Path(folder) / task)
        import_module(f"{RUNS[task][0].rpartition('.')[0]}.public")  # once, before the first fork
    while done < int(kills):
        task = list(tasks or RUNS)[runs % len(tasks or RUNS)]
        root = Path(folder) / task
        if (root / "killed").exists():
            (root / "killed").rename(root / f"killed_{runs}")
        killed, failures = kill_and_resume(task, root, min(KILLS_PER_RUN, int(kills) - done), rng)
        done, runs, equal = done + killed, runs + 1, equal + (not failures)
        print(f"{task}: {killed} kills, " + ("bitwise equal" if not failures else f"NOT EQUAL: {failures[:10]}"))
    print(f"{done} kills in {runs} runs; {equal} of {runs} ended bitwise equal to the uninterrupted run")
    return int(equal != runs)


if __name__ == "__main__":
    assert command  # imported as the command line does, before the first fork
    sys.exit(main(*sys.argv[1:]))
