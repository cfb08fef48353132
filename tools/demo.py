"""`vertebra demo TASK`: from nothing to a trained network and its report, without a download."""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# task -> the function that draws its data set, in `vertebra.tools.samples.<task>`
TASKS = {
    "classification": "write_classification_samples",
    "detection": "write_detection_samples",
    "medical": "write_medical_samples",
    "segmentation": "write_segmentation_samples",
    "video": "write_video_samples",
}
# task -> a second network that is trained on the same data, to show what the first one owes to its kind
CONTRASTS = {"video": "single_frame"}


def main(argv: Sequence[str] | None = None) -> int:
    """Make a small data set, train on it, measure, and write the report."""
    parser = argparse.ArgumentParser(prog="vertebra demo", description=main.__doc__)
    parser.add_argument("task", choices=TASKS, help="what to demonstrate")
    parser.add_argument("--output", type=Path, help="folder of the run (default: runs/demo_TASK); an earlier demo goes")
    args, flags = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    run = args.output or Path("runs") / f"demo_{args.task}"

    from vertebra.tools import train  # after the help, which has no need of torch

    samples = importlib.import_module(f"vertebra.tools.samples.{args.task}")

    if (run / "checkpoints").exists() and not (run / "data").exists():
        print(f"vertebra: {run} holds a run that is no demo; choose another --output.", file=sys.stderr)
        return 1
    shutil.rmtree(run, ignore_errors=True)
    started = time.monotonic()
    print(f"drawing a data set: {run / 'data'}")
    getattr(samples, TASKS[args.task])(run / "data")
    runs = {"demo": run}
    if args.task in CONTRASTS:
        runs[f"demo_{CONTRASTS[args.task]}"] = run / CONTRASTS[args.task]
    for config, folder in runs.items():
        folders = ["--data.root", str(run / "data"), "--trainer.default_root_dir", str(folder)]
        code = train.main(["fit", "-c", f"{args.task}/{config}.yaml", *folders, *flags])
        if code:
            return code
    if len(runs) > 1:
        print("", *_comparison(runs), "", sep="\n")
    print(f"{time.monotonic() - started:.0f} seconds in all; open {run / 'report.html'} in a browser")
    return 0


def _comparison(runs: Mapping[str, Path]) -> list[str]:
    """Return a table of runs and the scores of their best checkpoints."""
    import torch

    rows = ["| configuration | metric | best |", "|---|---|---|"]
    for name, run in runs.items():
        content = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True, mmap=True)
        kept = next(state for state in content["callbacks"].values() if "best_model_score" in state)
        rows.append(f"| {name} | {kept['monitor']} | {float(kept['best_model_score']):.3f} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
