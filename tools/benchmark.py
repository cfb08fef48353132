"""`vertebra benchmark WHAT`: ours beside the peers' own networks, in one run and in turn, as ratios."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version

# task -> the network that is timed, ours and torchvision's, by `tools.benchmarks.<task>`
TASKS = {"detection": "Faster R-CNN", "segmentation": "DeepLabV3"}


def main(argv: Sequence[str] | None = None) -> int:
    """Time training steps and inference in turn, and print ratios with their spread, as Markdown."""
    parser = argparse.ArgumentParser(prog="vertebra benchmark", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each network that count, after two that do not")
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for task, network in TASKS.items():
        one = what.add_parser(task, help=f"{network} beside torchvision's")
        one.add_argument("--size", type=int, nargs=2, default=(320, 320), metavar=("H", "W"), help="of the images")
        one.add_argument("--batch", type=int, default=2, help="images in a batch")
        one.add_argument("--backbone", default="resnet50", help="registered name that torchvision has too")
    backbones = what.add_parser("backbones", help="backbones beside timm's and torchvision's")
    backbones.add_argument("--float32", action="store_true", help="no bfloat16 autocast")
    backbones.add_argument("--only", nargs="+", metavar="NAME", help="of the networks (default: all)")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    if args.what in TASKS:
        _print_task(args.what, args.backbone, args.batch, tuple(args.size), args.rounds)
    else:
        _print_backbones(not args.float32, args.only, args.rounds)
    return 0


def _print_task(task: str, backbone: str, batch: int, size: tuple[int, int], rounds: int) -> None:
    """Print a row a network, with its speed relative to the first and its memory."""
    from tools.benchmarks.timing import Spread, inference, memory_of_a_step, ratios, time_in_turn, training_step

    entries = importlib.import_module(f"tools.benchmarks.{task}").contenders(backbone, batch, size)
    works = [entry.build() for entry in entries]
    trained = time_in_turn([training_step(*pair) for pair in zip(entries, works, strict=True)], rounds)
    used = time_in_turn([inference(*pair) for pair in zip(entries, works, strict=True)], rounds)
    del works
    _heading(f"{TASKS[task]}, {backbone}, {batch} x 3 x {size[0]} x {size[1]}", rounds)
    print("| network | training step, s | times as fast as the first | inference, s | times | memory of a step, MiB |")
    print("|---|---|---|---|---|---|")
    for entry, training, using in zip(entries, trained, used, strict=True):
        print(
            f"| {entry.name} | {Spread.of(training)} | {ratios(training, trained[0])} | {Spread.of(using)} "
            f"| {ratios(using, used[0])} | {memory_of_a_step(entry):.0f} |",
            flush=True,
        )


def _print_backbones(bf16: bool, only: Sequence[str] | None, rounds: int) -> None:
    """Print a row a network and peer: how many times as fast as the peer ours is, and what options give."""
    from tools.benchmarks.backbones import CASES, contenders
    from tools.benchmarks.timing import inference, memory_of_a_step, ratios, time_in_turn, training_step

    _heading(f"backbones, {'bf16' if bf16 else 'float32'}, channels_last", rounds)
    print(
        "| network, batch | peer | training step | inference | inference, norms folded "
        "| memory of a step: peer, ours, checkpointing (MiB) | step with checkpointing |"
    )
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        if only and case.name not in only:
            continue
        entries = contenders(case, bf16)
        works = [entry.build() for entry in entries]
        steps = [training_step(*pair) for pair in zip(entries[:3], works, strict=False)]
        peer, own, slower = time_in_turn(steps, rounds)
        runs = [inference(entries[i], works[i]) for i in (0, 1, 3)]
        peer_run, own_run, folded_run = time_in_turn(runs, rounds)
        del works, steps, runs
        memory = ", ".join(f"{memory_of_a_step(entry):.0f}" for entry in entries[:3])
        batch = " x ".join(map(str, case.shape))
        print(
            f"| {case.name}, {batch} | {case.peer} | {ratios(own, peer)} | {ratios(own_run, peer_run)} "
            f"| {ratios(folded_run, peer_run)} | {memory} | {ratios(slower, own)} |",
            flush=True,
        )
    print("\nTraining step and inference: how many times as fast as the peer's; the last column: as ours without it.")


def _heading(title: str, rounds: int) -> None:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm"))
    python = platform.python_version()
    print(f"{title}; {device}; {versions}, Python {python}; {rounds} rounds in turn, median (least to most)\n")


if __name__ == "__main__":
    sys.exit(main())
