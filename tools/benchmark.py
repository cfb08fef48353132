"""`vertebra benchmark [WHAT]`: interleaved timing against other libraries, as speedups with their spread."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vertebra.tools.benchmarks.exports import NETWORKS as EXPORTED
from vertebra.tools.benchmarks.tasks import DETECTORS, TASKS
from vertebra.tools.errors import user_message

if TYPE_CHECKING:
    from vertebra.tools.benchmarks.table import Table

# WHAT -> its comparison, one line of --help; the tasks first
CHOICES = {
    "detection": "detectors against torchvision, detectron2, pixeltable-yolox and transformers",
    "segmentation": "DeepLabV3 against torchvision and segmentation_models_pytorch",
    "video": "video classifiers against torchvision and pytorchvideo",
    "medical": "3-D classifier against MONAI",
    "defaults": "the contribution of each of our default settings, per task",
    "backbones": "backbones against timm and torchvision",
    "loading": "detection data loading against torchvision's reference transforms",
    "decoding": "random access to clips of a video, and data loader throughput",
    "export": "exported ONNX files against the eager network, and against torchvision's own export",
    "coco": "COCO average precision against pycocotools",
    "gpu": "all tasks at the sizes of a GPU, against their peers and against the limit of the arithmetic",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure training steps and inference of all contenders in turn; print speedups, write results.json and .png."""
    parser = argparse.ArgumentParser(
        prog="vertebra benchmark",
        description=main.__doc__,
        epilog="Without WHAT, all benchmarks run, which takes over 20 minutes on two CPU cores; on a GPU only `gpu`.",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=7,
        metavar="N",
        help="measured runs of each contender, after two warm-up runs (default: 7)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/benchmark"),
        metavar="FOLDER",
        help="folder of results.json and results.png (default: runs/benchmark)",
    )
    what = parser.add_subparsers(dest="what", metavar="WHAT", title="benchmarks")
    for name, help_text in CHOICES.items():
        _add_flags(name, what.add_parser(name, help=help_text, description=f"Benchmark: {help_text}."))
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    import torch  # as below: imported late, since it would slow down --help

    from vertebra.tools.benchmarks.table import write_picture, write_results

    names = ("gpu",) if torch.cuda.is_available() else tuple(name for name in CHOICES if name != "gpu")
    # parsed again for the defaults of each subcommand
    selected = [args] if args.what else [parser.parse_args([name]) for name in names]
    tables: list[Table] = []
    try:
        for options in selected:
            print(f"measuring {options.what} ...", file=sys.stderr, flush=True)
            for table in _tables(options, args.rounds):
                tables.append(table)
                print(table.markdown(), flush=True)  # a benchmark takes minutes, and stdout may be a pipe
                write_results(tables, args.output)  # after every table, so that an interrupted run keeps its results
    except ValueError as error:
        message = user_message(error)
        if message is None:
            raise
        print(f"vertebra: {message}", file=sys.stderr)
        return 1
    if not tables:
        print("vertebra: nothing was measured, since the time was over; give more with --seconds.", file=sys.stderr)
        return 1
    print(f"wrote {write_results(tables, args.output)} and {write_picture(tables, args.output)}")
    return 0


def _add_flags(name: str, parser: argparse.ArgumentParser) -> None:
    if name == "backbones":
        parser.add_argument("--float32", action="store_true", help="disable bfloat16 autocast (default: bfloat16)")
        parser.add_argument("--only", nargs="+", metavar="NAME", help="backbones to measure (default: all)")
    elif name == "gpu":
        parser.add_argument(
            "--only",
            nargs="+",
            metavar="NAME",
            help="cases, in this order, such as faster_rcnn (default: all)",
        )
        parser.add_argument(
            "--seconds", type=float, default=600, help="after which nothing further is started (default: 600)"
        )
        parser.add_argument("--eager", action="store_true", help="do not measure ours compiled, which takes minutes")
    elif name == "defaults":
        parser.add_argument(
            "--task", nargs="+", choices=tuple(TASKS), default=tuple(TASKS), help="tasks to measure (default: all)"
        )
    elif name == "decoding":
        parser.add_argument("--seconds", type=int, default=10, help="length of the video in seconds (default: 10)")
        parser.add_argument("--clips", type=int, default=24, help="clips read per round (default: 24)")
    elif name == "loading":
        parser.add_argument("--images", type=int, default=16, help="images loaded per round (default: 16)")
    elif name == "export":
        names = ", ".join(EXPORTED)
        parser.add_argument(
            "--network",
            nargs="+",
            choices=tuple(EXPORTED),
            default=tuple(EXPORTED),
            metavar="NAME",
            help=f"networks to measure, of {names} (default: all)",
        )
        parser.add_argument("--backbone", metavar="NAME", help="backbone (default: of each network its own)")
        parser.add_argument("--batch", type=int, default=1, help="batch size (default: 1)")
        parser.add_argument(
            "--size", type=int, nargs=2, metavar=("H", "W"), help="height and width (default: of each network its own)"
        )
    elif name == "coco":
        parser.add_argument("--images", type=int, default=500, help="images scored per round (default: 500)")
        parser.add_argument("--detections", type=int, default=100, help="detections per image (default: 100)")
    else:
        task = TASKS[name]
        if name == "detection":
            parser.add_argument(
                "--network",
                nargs="+",
                choices=tuple(DETECTORS),
                default=tuple(DETECTORS),
                metavar="NAME",
                help=f"networks to measure, of {', '.join(DETECTORS)} (default: all)",
            )
        axes = ("D", "H", "W")[1 - len(task.shape) :]  # without the channels
        parser.add_argument(
            "--size",
            type=int,
            nargs=len(axes),
            default=task.shape[1:],
            metavar=axes,
            help=f"spatial size of an input (default: {' '.join(map(str, task.shape[1:]))})",
        )
        if task.frames:
            parser.add_argument(
                "--frames", type=int, default=task.frames, help=f"frames of a clip (default: {task.frames})"
            )
        parser.add_argument("--batch", type=int, default=task.batch, help=f"batch size (default: {task.batch})")
        parser.add_argument(
            "--backbone",
            nargs="+",
            default=None if name == "detection" else task.backbones,
            metavar="NAME",
            help=f"backbones, which the other library must have too (default: {_backbones(name)})",
        )


def _backbones(name: str) -> str:
    return "of each network its own" if name == "detection" else " ".join(TASKS[name].backbones)


def _tables(args: argparse.Namespace, rounds: int) -> Iterator[Table]:
    # imported per benchmark: each needs its own set of optional packages
    if args.what == "backbones":
        from vertebra.tools.benchmarks import backbones

        yield backbones.measure(not args.float32, args.only, rounds)
    elif args.what == "gpu":
        from vertebra.tools.benchmarks import gpu

        yield from gpu.measure(args.only, rounds, args.seconds, compiled=not args.eager)
    elif args.what == "defaults":
        from vertebra.tools.benchmarks import defaults

        for name in args.task:
            yield defaults.measure(name, rounds)
    elif args.what == "decoding":
        from vertebra.tools.benchmarks import decoding

        yield from decoding.measure(args.seconds, args.clips, rounds)
    elif args.what == "loading":
        from vertebra.tools.benchmarks import loading

        yield loading.measure(args.images, rounds)
    elif args.what == "export":
        from vertebra.tools.benchmarks import exported

        for name in args.network:
            yield exported.measure(name, rounds, args.backbone, args.batch, args.size)
    elif args.what == "coco":
        from vertebra.tools.benchmarks import coco

        yield coco.measure(args.images, args.detections, rounds)
    else:
        from vertebra.tools.benchmarks import networks

        for network in getattr(args, "network", ()):
            for backbone in args.backbone or DETECTORS[network].backbones:
                yield networks.measure(args.what, backbone, args.batch, tuple(args.size), rounds, network)
        if args.what == "detection":
            return
        frames = (args.frames,) if "frames" in args else ()
        for backbone in args.backbone:
            yield networks.measure(args.what, backbone, args.batch, (*frames, *args.size), rounds)


if __name__ == "__main__":
    sys.exit(main())
