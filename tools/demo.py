"""`vertebra demo TASK`: generated data, training, evaluation and report in one command."""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vertebra.tools import fit

# demo -> the function that writes its data set, in `vertebra.tools.samples.<demo>`; names only, so that --help needs
# neither OpenCV nor a video encoder
TASKS = {
    "classification": "write_classification_samples",
    "detection": "write_detection_samples",
    "generation": "write_generation_samples",
    "instances": "write_instance_samples",
    "medical": "write_medical_samples",
    "segmentation": "write_segmentation_samples",
    "video": "write_video_samples",
}
# demo -> its recipe, where that is another than `<demo>/demo.yaml`
RECIPES = {"instances": "detection/demo_instances"}
# task -> recipe of a baseline on the same data; for video it lacks motion, which shows what the 3-D network adds
BASELINES = {"video": "single_frame"}
# task -> recipe of a run on the same data that comes first, since the demo's own is given it by a flag of that name
FIRST = {"generation": "judge"}


def main(argv: Sequence[str] | None = None) -> int:
    """Generate a small data set, train a network on it, evaluate it and write the report; no download, no GPU."""
    parser = argparse.ArgumentParser(
        prog="vertebra demo",
        usage="vertebra demo TASK [--name NAME | --output FOLDER] [--FLAG VALUE ...]",
        description=main.__doc__,
        epilog="Further flags are those of `vertebra fit`, for instance --trainer.max_epochs 2.",
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=f"one of {', '.join(TASKS)}")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="run folder; an earlier demo in it is deleted (default: runs/demo_TASK)",
    )
    place.add_argument("--name", metavar="NAME", help="the same, for the run folder runs/NAME")
    args, flags = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    run = args.output or Path("runs") / (args.name or f"demo_{args.task}")

    samples = importlib.import_module(f"vertebra.tools.samples.{args.task}")

    # only a demo has its data inside the run folder: anything else there is a user's run and is not deleted
    if (run / "checkpoints").exists() and not (run / "data").exists():
        print(f"vertebra: {run} holds a run that is not a demo; choose another --output.", file=sys.stderr)
        return 1
    shutil.rmtree(run, ignore_errors=True)
    started = time.monotonic()
    print(f"generating the data set {run / 'data'}")
    getattr(samples, TASKS[args.task])(run / "data")
    if args.task in FIRST:
        name = FIRST[args.task]
        folders = ["--data.root", str(run / "data"), "--trainer.default_root_dir", str(run / name)]
        if code := fit.main(["fit", "-c", f"{args.task}/demo_{name}.yaml", *folders]):
            return code
        flags = [f"--model.{name}", str(run / name), *flags]
    runs = {RECIPES.get(args.task, f"{args.task}/demo"): run}
    if args.task in BASELINES:
        runs[f"{args.task}/demo_{BASELINES[args.task]}"] = run / BASELINES[args.task]
    for config, folder in runs.items():
        folders = ["--data.root", str(run / "data"), "--trainer.default_root_dir", str(folder)]
        code = fit.main(["fit", "-c", f"{config}.yaml", *folders, *flags])
        if code:
            return code
    if len(runs) > 1:
        print("", *_comparison(runs), "", sep="\n")
    print(f"{time.monotonic() - started:.0f} s in total; open {run / 'report.html'} in a browser")
    return 0


def _comparison(runs: Mapping[str, Path]) -> list[str]:
    """Return the lines of a Markdown table with the score of the best checkpoint of each run."""
    import torch

    rows = ["| configuration | metric | best |", "|---|---|---|"]
    for name, run in runs.items():
        # mmap: the score is a few bytes beside a whole network
        content = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True, mmap=True)
        state = next(state for state in content["callbacks"].values() if "best_model_score" in state)
        rows.append(f"| {name.rpartition('/')[2]} | {state['monitor']} | {float(state['best_model_score']):.3f} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
