"""`vertebra degradation`: plain against residual networks of two depths, and what their training errors say."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertebra.tasks.classification.labeled_images import LabeledImages

_DESCRIPTION = """\
Train networks without shortcuts and with them, of two depths each, on the same images, and draw their training and
validation errors: the experiment that residual networks come from (He et al. 2015, https://arxiv.org/abs/1512.03385).
Without --data it draws ten textures; that takes minutes on a CPU.
"""
_SIZE = 24  # pixels of the generated images: half of the work of CIFAR's 32
_NUM_VAL = 500


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment, print its verdict, and write the figure and the report."""
    parser = argparse.ArgumentParser(
        prog="vertebra degradation", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="ARCHIVE", help="CIFAR's .tar.gz, or an .npz (default: generated)")
    parser.add_argument(
        "--images", type=int, metavar="N", help="train on so many (default: all of the archive, 1500 generated)"
    )
    parser.add_argument("--depths", type=int, nargs=2, default=(20, 56), help="layers (default: 20 56)")
    parser.add_argument("--epochs", type=int, default=30, help="of each network (default: 30)")
    parser.add_argument("--batch-size", type=int, default=32, help="images in a step (default: 32)")
    parser.add_argument("--seeds", type=int, default=1, metavar="S", help="train every network S times (default: 1)")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/degradation"), help="folder to write (default: runs/degradation)"
    )
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    least = min(args.epochs, args.batch_size, args.seeds, args.images or 1)
    if least < 1:
        parser.error(f"--epochs, --batch-size, --seeds and --images are 1 or more, not {least}")
    try:
        _run(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> None:
    import torch

    from vertebra.backbones import create_backbone
    from vertebra.tasks.classification.degradation import Pair, curve, train_network, verdict
    from vertebra.tasks.classification.degradation_report import degradation_sections, write_figure
    from vertebra.tasks.reporting.report import write_report

    started = time.monotonic()
    depths = sorted(args.depths)
    with torch.device("meta"):  # a name that does not exist is told before hours of training
        for family in ("plain", "resnet"):
            for depth in depths:
                create_backbone(f"{family}{depth}")
    train, val = _data(args.data, args.images)
    pairs = []
    for kind, family in (("plain", "plain"), ("residual", "resnet")):
        curves = []
        for depth in depths:
            name = f"{family}{depth}"
            runs = []
            for seed in range(args.seeds):
                runs.append(train_network(name, train, val, args.epochs, args.batch_size, seed))
                errors = f"training error {runs[-1][0][-1]:.3f}, validation error {runs[-1][1][-1]:.3f}"
                print(f"{name}, seed {seed}: {errors}, {time.monotonic() - started:.0f} s", flush=True)
            curves.append(curve(name, runs))
        pairs.append(Pair(kind, *curves))

    plain, residual = pairs
    side = train.read(0).shape[0]
    rate = 0.1 * args.batch_size / 128
    setting = (
        f"{len(train)} training and {len(val)} validation images of {side} x {side} pixels "
        f"({args.data.name if args.data else 'generated textures'}), {args.epochs} epochs of batches of "
        f"{args.batch_size}, seeds 0 to {args.seeds - 1}; SGD, rate {rate:.3g}, to a tenth at half "
        "and at three quarters."
    )
    args.output.mkdir(parents=True, exist_ok=True)
    write_figure(args.output / "degradation.png", plain, residual)
    headline = {f"{pair.deep.name} - {pair.shallow.name}": pair.gap for pair in pairs}
    sections = degradation_sections(plain, residual, setting)
    subtitle = "training error of the deeper network less that of the shallower one"
    write_report(args.output / "report.html", "Degradation", subtitle, headline, sections)
    print("", *verdict(plain, residual), f"figure: {args.output / 'degradation.png'}", sep="\n")
    print(f"report: {args.output / 'report.html'}, {time.monotonic() - started:.0f} seconds in all")


def _data(archive: Path | None, num_images: int | None) -> tuple[LabeledImages, LabeledImages]:
    import numpy as np

    from vertebra.tasks.classification.formats import read_labeled_images
    from vertebra.tasks.classification.labeled_images import LabeledImages
    from vertebra.tools.samples.classification import CLASSES, draw_textures

    if archive is None:
        drawn = []
        for stream, number in enumerate((num_images or 1500, _NUM_VAL)):
            pixels, labels = draw_textures(number, _SIZE, stream=stream)
            drawn.append(LabeledImages(CLASSES, np.arange(number).astype(str), labels, pixels))
        return drawn[0], drawn[1]
    train, _ = read_labeled_images(archive, "train")
    val, _ = read_labeled_images(archive, "val" if archive.suffix == ".npz" else "test")
    if num_images is not None and num_images < len(train):
        train = train.only(np.random.default_rng(0).permutation(len(train))[:num_images])
    return train, val


if __name__ == "__main__":
    sys.exit(main())
