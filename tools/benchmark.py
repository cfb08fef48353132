"""`vertebra benchmark [WHAT]`: ours beside the peers' own networks, in one run and in turn, as ratios."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vertebra.tools.benchmarks.tasks import TASKS
from vertebra.tools.errors import sentence

if TYPE_CHECKING:
    from vertebra.tools.benchmarks.table import Table

# WHAT -> what stands beside what; the tasks first
CHOICES = {
    "detection": "Faster R-CNN beside those of torchvision and detectron2",
    "segmentation": "DeepLabV3 beside those of torchvision and segmentation_models_pytorch",
    "video": "classifiers of clips beside those of torchvision and pytorchvideo",
    "medical": "a classifier of volumes beside that of MONAI",
    "defaults": "what each of our own defaults gives, for every task",
    "backbones": "backbones beside timm's and torchvision's",
    "loading": "images and boxes for a detector beside torchvision's reference transforms",
    "decoding": "reading clips of a long video, and the loader's speed",
    "coco": "average precision beside pycocotools",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Time training steps and inference in turn, print ratios with their spread, and write them as JSON and a plot."""
    parser = argparse.ArgumentParser(
        prog="vertebra benchmark", description=main.__doc__, epilog="Without WHAT, all of it; that takes a while."
    )
    parser.add_argument("--rounds", type=int, default=7, help="runs of each that count, after two that do not")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/benchmark"), help="folder of results.json and results.png"
    )
    what = parser.add_subparsers(dest="what", metavar="WHAT")
    for name, help_text in CHOICES.items():
        _add_flags(name, what.add_parser(name, help=help_text))
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    from vertebra.tools.benchmarks.table import write

    chosen = [args] if args.what else [parser.parse_args([name]) for name in CHOICES]
    tables = []
    try:
        for one in chosen:
            print(f"timing {one.what} ...", file=sys.stderr, flush=True)
            for table in _tables(one, args.rounds):
                tables.append(table)
                print(table.markdown(), flush=True)
                files = write(tables, args.output)  # again behind each, so that a run that is cut leaves its results
    except ValueError as error:
        message = sentence(error)
        if message is None:
            raise
        print(f"vertebra: {message}", file=sys.stderr)
        return 1
    print(f"wrote {' and '.join(map(str, files))}")
    return 0


def _add_flags(name: str, parser: argparse.ArgumentParser) -> None:
    if name == "backbones":
        parser.add_argument("--float32", action="store_true", help="no bfloat16 autocast")
        parser.add_argument("--only", nargs="+", metavar="NAME", help="of the networks (default: all)")
    elif name == "defaults":
        parser.add_argument("--task", nargs="+", choices=tuple(TASKS), default=tuple(TASKS), help="(default: all)")
    elif name == "decoding":
        parser.add_argument("--seconds", type=int, default=10, help="of the video")
        parser.add_argument("--clips", type=int, default=24, help="that are read in a round")
    elif name == "loading":
        parser.add_argument("--images", type=int, default=16, help="that are loaded in a round")
    elif name == "coco":
        parser.add_argument("--images", type=int, default=500, help="that are scored in a round")
        parser.add_argument("--detections", type=int, default=100, help="of an image")
    else:
        task = TASKS[name]
        axes = ("D", "H", "W")[1 - len(task.shape) :]
        parser.add_argument(
            "--size", type=int, nargs=len(axes), default=task.shape[1:], metavar=axes, help="of the inputs"
        )
        if task.frames:
            parser.add_argument("--frames", type=int, default=task.frames, help="of the clips")
        parser.add_argument("--batch", type=int, default=task.batch, help="inputs in a batch")
        parser.add_argument(
            "--backbone", nargs="+", default=task.backbones, metavar="NAME", help="registered names that the peer has"
        )


def _tables(args: argparse.Namespace, rounds: int) -> Iterator[Table]:
    if args.what == "backbones":
        from vertebra.tools.benchmarks import backbones

        yield backbones.table_of(not args.float32, args.only, rounds)
    elif args.what == "defaults":
        from vertebra.tools.benchmarks import defaults

        for name in args.task:
            yield defaults.table_of(name, rounds)
    elif args.what == "decoding":
        from vertebra.tools.benchmarks import decoding

        yield from decoding.tables_of(args.seconds, args.clips, rounds)
    elif args.what == "loading":
        from vertebra.tools.benchmarks import loading

        yield loading.table_of(args.images, rounds)
    elif args.what == "coco":
        from vertebra.tools.benchmarks import coco

        yield coco.table_of(args.images, args.detections, rounds)
    else:
        from vertebra.tools.benchmarks.networks import table_of

        frames = (args.frames,) if "frames" in args else ()
        for backbone in args.backbone:
            yield table_of(args.what, backbone, args.batch, (*frames, *args.size), rounds)


if __name__ == "__main__":
    sys.exit(main())
