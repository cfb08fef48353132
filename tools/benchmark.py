"""`vertebra benchmark WHAT`: ours beside the peers' own networks, in one run and in turn, as ratios."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple


class Task(NamedTuple):
    """What is timed of a task: the contenders of `tools.benchmarks.<task>`.

    Attributes:
        network: ours, and the peer's.
        peers: packages that the peer's network may come from.
        backbones: of the network; each makes a table.
        shape: of an input: channels, then height and width, or all three axes of a volume.
        batch: inputs in a batch.
        frames: of an input that is a clip.
    """

    network: str
    peers: tuple[str, ...]
    backbones: tuple[str, ...]
    shape: tuple[int, ...]
    batch: int = 2
    frames: int | None = None


TASKS = {
    "detection": Task("Faster R-CNN", ("torchvision",), ("resnet50",), (3, 320, 320)),
    "segmentation": Task("DeepLabV3", ("torchvision",), ("resnet50",), (3, 320, 320)),
    "video": Task(
        "classifier of clips",
        ("torchvision", "pytorchvideo"),
        ("r2plus1d_18", "slowfast_r50"),
        (3, 112, 112),
        batch=8,  # as all of it is in `VideoData` by default
        frames=16,
    ),
    "medical": Task("classifier of volumes", ("monai",), ("resnet18_3d",), (1, 64, 64, 64)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Time training steps and inference in turn, and print ratios with their spread, as Markdown."""
    parser = argparse.ArgumentParser(prog="vertebra benchmark", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each that count, after two that do not")
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, task in TASKS.items():
        one = what.add_parser(name, help=f"{task.network} beside that of {' and '.join(task.peers)}")
        axes = ("D", "H", "W")[1 - len(task.shape) :]
        one.add_argument(
            "--size", type=int, nargs=len(axes), default=task.shape[1:], metavar=axes, help="of the inputs"
        )
        if task.frames:
            one.add_argument("--frames", type=int, default=task.frames, help="of the clips")
        one.add_argument("--batch", type=int, default=task.batch, help="inputs in a batch")
        one.add_argument(
            "--backbone", nargs="+", default=task.backbones, metavar="NAME", help="registered names that the peer has"
        )
    backbones = what.add_parser("backbones", help="backbones beside timm's and torchvision's")
    backbones.add_argument("--float32", action="store_true", help="no bfloat16 autocast")
    backbones.add_argument("--only", nargs="+", metavar="NAME", help="of the networks (default: all)")
    decoding = what.add_parser("decoding", help="reading clips of a long video, and the loader's speed")
    decoding.add_argument("--seconds", type=int, default=10, help="of the video")
    decoding.add_argument("--clips", type=int, default=24, help="that are read in a round")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    if args.what == "backbones":
        _print_backbones(not args.float32, args.only, args.rounds)
    elif args.what == "decoding":
        _print_decoding(args.seconds, args.clips, args.rounds)
    else:
        size = tuple(args.size) if TASKS[args.what].frames is None else (args.frames, *args.size)
        for backbone in args.backbone:
            _print_task(args.what, backbone, args.batch, size, args.rounds)
    return 0


def _print_task(name: str, backbone: str, batch: int, size: tuple[int, ...], rounds: int) -> None:
    """Print a row a network, with its speed relative to the first and its memory."""
    from tools.benchmarks.timing import Spread, inference, memory_of_a_step, ratios, time_in_turn, training_step

    task = TASKS[name]
    entries = importlib.import_module(f"tools.benchmarks.{name}").contenders(backbone, batch, size)
    works = [entry.build() for entry in entries]
    trained = time_in_turn([training_step(*pair) for pair in zip(entries, works, strict=True)], rounds)
    used = time_in_turn([inference(*pair) for pair in zip(entries, works, strict=True)], rounds)
    del works
    shape = " x ".join(map(str, (batch, task.shape[0], *size)))
    _heading(f"{task.network}, {backbone}, {shape}", ("torch", *task.peers), rounds)
    print("| network | training step, s | times as fast as the first | inference, s | times | memory of a step, MiB |")
    print("|---|---|---|---|---|---|")
    for entry, training, using in zip(entries, trained, used, strict=True):
        print(
            f"| {entry.name} | {Spread.of(training)} | {ratios(training, trained[0])} | {Spread.of(using)} "
            f"| {ratios(using, used[0])} | {memory_of_a_step(entry):.0f} |",
            flush=True,
        )
    print()


def _print_backbones(bf16: bool, only: Sequence[str] | None, rounds: int) -> None:
    """Print a row a network and peer: how many times as fast as the peer ours is, and what options give."""
    from tools.benchmarks.backbones import CASES, contenders
    from tools.benchmarks.timing import inference, memory_of_a_step, ratios, time_in_turn, training_step

    precision = "bf16" if bf16 else "float32"
    _heading(f"backbones, {precision}, channels_last", ("torch", "torchvision", "timm"), rounds)
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


def _print_decoding(seconds: int, clips: int, rounds: int) -> None:
    """Print a table a video, and in it a row a way to read clips: how many are read in a second."""
    from tools.benchmarks.decoding import CASES, HEIGHT, RATE, SAMPLING, WIDTH, keyframes, one_core, ways, write_video
    from tools.benchmarks.timing import Spread, ratios, time_in_turn

    clip = f"clips of {SAMPLING.frames} frames, stride {SAMPLING.stride}"
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder, one_core():
            file = Path(folder) / "video.mp4"
            write_video(file, seconds * RATE, case.options)
            video = f"{seconds} s of {WIDTH} x {HEIGHT}, {RATE} frames a second, {case.name} ({keyframes(file)})"
            entries = ways(file, clips)
            times = time_in_turn([entry.read for entry in entries], rounds)
        _heading(f"{clip}, of {video}", ("av", "albumentations", "torch"), rounds, device="one CPU core")
        print("| read | clips/s | times as fast as the first |")
        print("|---|---|---|")
        for entry, taken in zip(entries, times, strict=True):
            print(f"| {entry.name} | {Spread.of([clips / one for one in taken])} | {ratios(taken, times[0])} |")
        print(flush=True)


def _heading(title: str, packages: Sequence[str], rounds: int, device: str | None = None) -> None:
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    conditions = f"{device or _device()}; {versions}, Python {platform.python_version()}"
    print(f"{title}; {conditions}; {rounds} rounds in turn, median (least to most)\n")


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
