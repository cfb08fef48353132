"""`vertebra search`: finds a ResNet within a budget of multiply-accumulates or a latency."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vertebra.tools.errors import exit_code

if TYPE_CHECKING:
    from vertebra.tools.searching.candidate import Limits
    from vertebra.tools.searching.memory_training import MemoryTraining
    from vertebra.tools.searching.recipe_training import RecipeTraining
    from vertebra.tools.searching.trials import Trials

_DESCRIPTION = """\
Search depth, width, block, stem, kernel, squeeze-and-excitation and resolution of a ResNet within a budget of
multiply-accumulates, or a latency on this machine, of the backbone for one image. Of --strategy
  halving    two zero-cost proxies (NASWOT, Mellor et al. 2021, https://arxiv.org/abs/2006.04647, and synaptic flow,
             Abdelfattah et al. 2021, https://arxiv.org/abs/2101.08134) choose from three times as many networks as are
             trained; successive halving (Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943) trains the best
             third of each round three times as long;
  evolution  mutants and crosses of the best of a sample enter a population, which the oldest leaves (Real et al. 2019,
             https://arxiv.org/abs/1802.01548); they train for a third of the epochs, the best few for all.
Beside either: random search of equal cost, and the published network as wide as the limit allows. The three are
compared over seeds on images that selected none of them. A search that was interrupted continues when it is started
again with the same flags. With -c, networks train by a recipe of `vertebra fit`, in its task and on its data; without,
small images in memory are classified: an archive, or generated textures of ten classes.
"""
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?)", re.IGNORECASE)
_BATCH = 16  # of images in memory: more steps in the few epochs of a trial
_IN_MEMORY = ("data", "images", "batch_size")


def main(argv: Sequence[str] | None = None) -> int:
    """Search, print what was found, and write figures, CSV, JSON and a page."""
    parser = argparse.ArgumentParser(
        prog="vertebra search",
        usage="vertebra search [--budget MACS] [--latency TIME] [-c TASK/NAME.yaml] [--FLAG VALUE ...]",
        description=_DESCRIPTION,
        epilog="Flags behind -c are those of `vertebra fit`, such as --data.root FOLDER --batch 16 --size 64.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --batch is a flag of the recipe
    )
    parser.add_argument("--budget", metavar="MACS", help="multiply-accumulates for one image, such as 40M or 2G")
    parser.add_argument("--latency", metavar="TIME", help="time of one image on this machine, such as 5ms")
    parser.add_argument("-c", "--config", metavar="RECIPE", help="recipe with random initial weights (default: none)")
    parser.add_argument("--data", type=Path, metavar="ARCHIVE", help="CIFAR .tar.gz or .npz (default: textures)")
    parser.add_argument("--images", type=int, metavar="N", help="training images (default: all, 1500 generated)")
    parser.add_argument(
        "--strategy", choices=("halving", "evolution"), default="halving", help="of the search (default: halving)"
    )
    parser.add_argument("--candidates", type=int, default=27, metavar="N", help="networks to train (default: 27)")
    parser.add_argument("--epochs", type=int, default=18, metavar="N", help="longest training (default: 18)")
    parser.add_argument("--batch-size", type=int, metavar="N", help=f"without -c: images per batch (default: {_BATCH})")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings to compare by (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the search (default: 0)")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/search"), metavar="FOLDER", help="(default: runs/search)"
    )
    args, flags = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    if flags and args.config is None:
        parser.error(f"unrecognized arguments: {' '.join(flags)}")
    return exit_code(lambda: _run(args, flags))


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


def _run(args: argparse.Namespace, flags: Sequence[str]) -> None:
    if args.budget is None and args.latency is None:
        raise ValueError("there is no limit; give --budget MACS, such as 40M, or --latency TIME, such as 5ms.")
    budget = None if args.budget is None else read_budget(args.budget)
    smallest = min(args.candidates, args.epochs, args.batch_size or 1, args.seeds, args.images or 1)
    if smallest < 1:
        raise ValueError(
            f"--candidates, --epochs, --batch-size, --seeds and --images must be 1 or more, not {smallest}."
        )
    for name in _IN_MEMORY:
        if args.config is not None and getattr(args, name) is not None:
            raise ValueError(
                f"--{name.replace('_', '-')} is given with -c, whose data and batches are set by flags of vertebra "
                "fit, such as --data.root FOLDER and --batch N."
            )

    from vertebra.tools.analyses.findings import write_findings
    from vertebra.tools.searching.latency import latency_hardware, read_latency
    from vertebra.tools.searching.search import STRATEGIES, run_search
    from vertebra.tools.searching.search_report import search_findings
    from vertebra.tools.searching.strategy import Plan
    from vertebra.tools.searching.trials import Trials

    started = time.monotonic()
    latency = None if args.latency is None else read_latency(args.latency)
    training = _training(args, flags)
    plan = Plan(args.candidates, args.epochs, args.seed, args.seeds)
    settings = training.settings | {"budget": budget, "strategy": args.strategy, "candidates": plan.candidates}
    settings |= {"epochs": plan.epochs, "seed": plan.seed}
    if latency is not None:
        settings |= {"latency": latency, "hardware": latency_hardware()}
    args.output.mkdir(parents=True, exist_ok=True)
    record = Trials(args.output / "trials.jsonl", settings)
    if record.resumed:
        print(f"continuing {args.output}: {record.resumed} results are there already", flush=True)

    def progress(line: str) -> None:
        print(f"{line}, {time.monotonic() - started:.0f} s in all", flush=True)

    limits, limit_words = _limits(budget, latency, record)
    space = training.space(limits)
    outcome = run_search(space, STRATEGIES[args.strategy], plan, training, record, progress)
    setting = {
        **limit_words,
        "space": space.pool.text(),
        "strategy": args.strategy,
        **training.description(),
        "epochs": f"up to {plan.epochs}",
        "seeds": f"{plan.seed} for the search, {len(outcome.finals['search'])} more for the comparison",
    }
    findings = search_findings(outcome, plan, limits, setting)
    files = write_findings(args.output, "search", findings, "vertebra")
    print("", *findings.sentences, sep="\n")
    print(f"page: {files[0]}, {len(files) - 1} more files beside it, {time.monotonic() - started:.0f} s")


def _training(args: argparse.Namespace, flags: Sequence[str]) -> MemoryTraining | RecipeTraining:
    """Return how candidates are trained: by a recipe, or on images in memory."""
    if args.config is not None:
        from vertebra.tools.searching.recipe import read_recipe
        from vertebra.tools.searching.recipe_training import RecipeTraining

        return RecipeTraining(read_recipe(args.config, flags), args.output)

    from vertebra.tools.degradation import read_images
    from vertebra.tools.searching.memory_training import MemoryTraining

    train, val = read_images(args.data, args.images)
    source = args.data.name if args.data else "generated textures"
    return MemoryTraining(train, val, args.batch_size or _BATCH, source)


def _limits(budget: int | None, latency: float | None, record: Trials) -> tuple[Limits, dict[str, str]]:
    """Return the limits, and each in words."""
    from vertebra.tools.searching.candidate import Limits
    from vertebra.tools.searching.latency import LatencyMeter, latency_hardware

    words = {} if budget is None else {"budget": f"{budget:,} multiply-accumulates of the backbone for one image"}
    if latency is None:
        return Limits(budget), words
    meter = LatencyMeter(record)
    words["latency"] = f"{latency * 1e3:g} ms of the backbone for one image on {latency_hardware()}; {meter}"
    print(f"latency  {words['latency']}", flush=True)
    return Limits(budget, latency, meter), words


if __name__ == "__main__":
    sys.exit(main())
