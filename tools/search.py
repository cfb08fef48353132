"""`vertebra search`: finds a ResNet within a budget of multiply-accumulates."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = """\
Search depth, width, block, stem, kernel, squeeze-and-excitation and resolution of a ResNet for small images within a
budget of multiply-accumulates for one image. Two zero-cost proxies (NASWOT, Mellor et al. 2021,
https://arxiv.org/abs/2006.04647, and synaptic flow, Abdelfattah et al. 2021, https://arxiv.org/abs/2101.08134) choose
from three times as many networks as are trained; successive halving (Jamieson and Talwalkar 2016,
https://arxiv.org/abs/1502.07943) trains the best third of each round three times as long. --strategy evolution mutates
and crosses the best of a sample of a population whose oldest leaves it (aging evolution, Real et al. 2019,
https://arxiv.org/abs/1802.01548). Beside either: random search of equal cost, and the published network as wide as the
budget allows. The three are compared over seeds on images that selected none of them. Without --data, it trains on
generated textures of ten classes. A search that was interrupted continues when it is started again with the same flags.
"""
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?)", re.IGNORECASE)


def main(argv: Sequence[str] | None = None) -> int:
    """Search, print what was found, and write figures, CSV, JSON and a page."""
    parser = argparse.ArgumentParser(
        prog="vertebra search", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--budget", required=True, metavar="MACS", help="multiply-accumulates for one image, such as 40M or 2G"
    )
    parser.add_argument("--data", type=Path, metavar="ARCHIVE", help="CIFAR .tar.gz or .npz (default: textures)")
    parser.add_argument("--images", type=int, metavar="N", help="training images (default: all, 1500 generated)")
    parser.add_argument(
        "--strategy", choices=("halving", "evolution"), default="halving", help="of the search (default: halving)"
    )
    parser.add_argument("--candidates", type=int, default=27, metavar="N", help="networks to train (default: 27)")
    parser.add_argument("--epochs", type=int, default=18, metavar="N", help="longest training (default: 18)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="images per batch (default: 16)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings to compare by (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the search (default: 0)")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/search"), metavar="FOLDER", help="(default: runs/search)"
    )
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    from vertebra.tools.errors import user_message

    try:
        _run(args)
    except Exception as error:
        message = user_message(error)
        if message is None:  # a bug, whose traceback helps
            raise
        print(f"vertebra: {message}", file=sys.stderr)
        return 1
    return 0


def read_budget(text: str) -> int:
    """Return a number of multiply-accumulates from text such as `40M`.

    Raises:
        ValueError: it is no positive number with or without K, M or G.
    """
    match = _BUDGET.fullmatch(text.strip())
    number = round(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if number < 1:
        raise ValueError(f"--budget is {text!r}; expected multiply-accumulates for one image, such as 40M or 2G.")
    return number


def _run(args: argparse.Namespace) -> None:
    budget = read_budget(args.budget)
    smallest = min(args.candidates, args.epochs, args.batch_size, args.seeds, args.images or 1)
    if smallest < 1:
        raise ValueError(
            f"--candidates, --epochs, --batch-size, --seeds and --images must be 1 or more, not {smallest}."
        )

    from vertebra.tools.analyses.findings import write_findings
    from vertebra.tools.degradation import read_images
    from vertebra.tools.searching.candidate import Limits
    from vertebra.tools.searching.memory_training import MemoryTraining
    from vertebra.tools.searching.search import STRATEGIES, run_search
    from vertebra.tools.searching.search_report import search_findings
    from vertebra.tools.searching.space import Space
    from vertebra.tools.searching.strategy import Plan
    from vertebra.tools.searching.trials import Trials

    started = time.monotonic()
    train, val = read_images(args.data, args.images)
    side = min(train.read(0).shape[:2])
    plan = Plan(args.candidates, args.epochs, args.seed, args.seeds)
    source = args.data.name if args.data else "generated textures"
    settings = {"data": source, "images": len(train), "side": side, "budget": budget, "batch size": args.batch_size}
    settings |= {"strategy": args.strategy, "candidates": plan.candidates, "epochs": plan.epochs, "seed": plan.seed}
    args.output.mkdir(parents=True, exist_ok=True)
    record = Trials(args.output / "trials.jsonl", settings)
    if record.resumed:
        print(f"continuing {args.output}: {record.resumed} results are there already", flush=True)

    def progress(line: str) -> None:
        print(f"{line}, {time.monotonic() - started:.0f} s in all", flush=True)

    limits = Limits(budget)
    space = Space(side, limits)
    training = MemoryTraining(train, val, args.batch_size)
    outcome = run_search(space, STRATEGIES[args.strategy], plan, training, record, progress)
    setting = {
        "budget": f"{budget:,} multiply-accumulates of the backbone for one image",
        "space": space.pool.text(),
        "data": f"{len(train)} training and {len(val)} validation images of {side} x {side} pixels, {source}",
        "strategy": args.strategy,
        "selection": "three quarters of the training images train, the others select",
        "training": f"up to {plan.epochs} epochs, batch size {args.batch_size}, AdamW, else as vertebra degradation",
        "seeds": f"{plan.seed} for the search, {len(outcome.finals['search'])} others for the comparison",
    }
    findings = search_findings(outcome, plan, limits, setting)
    files = write_findings(args.output, "search", findings, "vertebra")
    print("", *findings.sentences, sep="\n")
    print(f"page: {files[0]}, {len(files) - 1} more files beside it, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
