"""`vertebra demo TASK`: from nothing to a trained network and its report, without a download."""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# task -> the function that draws its data set, in `tools.samples.<task>`
TASKS = {
    "classification": "write_classification_samples",
    "detection": "write_detection_samples",
    "segmentation": "write_segmentation_samples",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Make a small data set, train on it, measure, and write the report."""
    parser = argparse.ArgumentParser(prog="vertebra demo", description=main.__doc__)
    parser.add_argument("task", choices=TASKS, help="what to demonstrate")
    parser.add_argument("--output", type=Path, help="folder of the run (default: runs/demo_TASK); an earlier demo goes")
    args, flags = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    run = args.output or Path("runs") / f"demo_{args.task}"

    from tools import train  # after the help, which has no need of torch

    samples = importlib.import_module(f"tools.samples.{args.task}")

    if (run / "checkpoints").exists() and not (run / "data").exists():
        print(f"vertebra: {run} holds a run that is no demo; choose another --output.", file=sys.stderr)
        return 1
    shutil.rmtree(run, ignore_errors=True)
    started = time.monotonic()
    print(f"drawing a data set: {run / 'data'}")
    getattr(samples, TASKS[args.task])(run / "data")
    folders = ["--data.root", str(run / "data"), "--trainer.default_root_dir", str(run)]
    code = train.main(["fit", "-c", f"{args.task}/demo.yaml", *folders, *flags])
    if code == 0:
        print(f"{time.monotonic() - started:.0f} seconds in all; open {run / 'report.html'} in a browser")
    return code


if __name__ == "__main__":
    sys.exit(main())
