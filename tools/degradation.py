"""`vertebra degradation`: the degradation experiment, plain against residual networks of two depths."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertebra.tasks.classification.degradation import Curve
    from vertebra.tasks.classification.labeled_images import LabeledImages

_DESCRIPTION = """\
Train plain and residual networks of two depths each on the same images, and plot their training and validation errors.
This reproduces the experiment that motivates residual networks: without shortcuts, the deeper network has the higher
training error (He et al. 2015, https://arxiv.org/abs/1512.03385). Without --data, it trains on generated textures of
ten classes, which takes minutes on a CPU.
"""
_SIZE = 24  # pixels per side of a generated image: 0.56 of the operations of CIFAR's 32
_NUM_VAL = 500  # 50 per class: a resolution of 0.002 of the validation error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment, print its conclusion, and write the figure and the report."""
    parser = argparse.ArgumentParser(
        prog="vertebra degradation", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, metavar="ARCHIVE", help="CIFAR .tar.gz or MedMNIST-style .npz (default: generate textures)"
    )
    parser.add_argument(
        "--images", type=int, metavar="N", help="number of training images (default: the whole archive, 1500 generated)"
    )
    parser.add_argument(
        "--depths",
        type=int,
        nargs=2,
        default=(20, 56),
        metavar=("SHALLOW", "DEEP"),
        help="layers of the two networks, 6n + 2 (default: 20 56)",
    )
    parser.add_argument("--epochs", type=int, default=30, metavar="N", help="epochs per network (default: 30)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="images per batch (default: 32)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings per network (default: 1)")
    parser.add_argument(
        "--history",
        action="store_true",
        help="train AlexNet and VGG, too, in versions for small images: the networks before residual ones",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/degradation"),
        metavar="FOLDER",
        help="output folder (default: runs/degradation)",
    )
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    minimum = min(args.epochs, args.batch_size, args.seeds, args.images or 1)
    if minimum < 1:
        parser.error(f"--epochs, --batch-size, --seeds and --images must be 1 or more, not {minimum}")
    try:
        _run(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> None:
    import torch

    from vertebra.backbones import create_backbone
    from vertebra.tasks.classification.degradation import EARLIER, Pair, conclusions, stack_runs, train_network
    from vertebra.tasks.classification.degradation_report import (
        degradation_sections,
        history_section,
        write_figure,
        write_history,
    )
    from vertebra.tasks.reporting.report import write_report

    started = time.monotonic()
    depths = sorted(args.depths)
    with torch.device("meta"):  # fail on an invalid depth now and not after hours of training
        for family in ("plain", "resnet"):
            for depth in depths:
                create_backbone(f"{family}{depth}")
    train, val = read_images(args.data, args.images)

    def curve_of(name: str) -> Curve:
        runs = []
        for seed in range(args.seeds):
            runs.append(train_network(name, train, val, args.epochs, args.batch_size, seed))
            errors = f"training error {runs[-1][0][-1]:.3f}, validation error {runs[-1][1][-1]:.3f}"
            print(f"{name}, seed {seed}: {errors}, {time.monotonic() - started:.0f} s", flush=True)
        return stack_runs(name, runs)

    earlier = [curve_of(name) for name in EARLIER] if args.history else []
    plain, residual = (
        Pair(kind, *(curve_of(f"{family}{depth}") for depth in depths))
        for kind, family in (("plain", "plain"), ("residual", "resnet"))
    )
    side = train.read(0).shape[0]
    rate = 0.1 * args.batch_size / 128  # of the paper, scaled linearly with the batch, as `train_network` does
    setting = (
        f"{len(train)} training and {len(val)} validation images of {side} x {side} pixels "
        f"({args.data.name if args.data else 'generated textures'}), {args.epochs} epochs, batch size "
        f"{args.batch_size}, seeds 0 to {args.seeds - 1}; SGD with learning rate {rate:.3g}, divided by 10 at 1/2 and "
        "3/4 of the training."
    )
    args.output.mkdir(parents=True, exist_ok=True)
    write_figure(args.output / "degradation.png", plain, residual)
    headline = {f"{pair.deep.name} - {pair.shallow.name}": pair.gap for pair in (plain, residual)}
    sections = degradation_sections(plain, residual, setting)
    if earlier:
        history = [*earlier, plain.shallow, plain.deep, residual.shallow, residual.deep]
        write_history(args.output / "history.png", history)
        sections.insert(1, history_section(history))
    subtitle = "training error of the deeper network minus that of the shallower one"
    write_report(args.output / "report.html", "Degradation", subtitle, headline, sections)
    print("", *conclusions(plain, residual), f"figure: {args.output / 'degradation.png'}", sep="\n")
    if earlier:
        print(f"figure: {args.output / 'history.png'}")
    print(f"report: {args.output / 'report.html'}, {time.monotonic() - started:.0f} s in total")


def read_images(archive: Path | None, num_images: int | None) -> tuple[LabeledImages, LabeledImages]:
    """Return training and validation images in memory.

    Args:
        archive: of CIFAR or in the style of MedMNIST; None generates textures.
        num_images: number of training images; None for all of the archive, or 1500 generated ones.

    Raises:
        FileNotFoundError: there is no such archive.
        ValueError: it is of another kind, or damaged.
    """
    import numpy as np

    from vertebra.tasks.classification.formats import read_labeled_images
    from vertebra.tasks.classification.labeled_images import LabeledImages
    from vertebra.tools.samples.classification import CLASSES, draw_textures

    if archive is None:
        splits = []
        for stream, number in enumerate((num_images or 1500, _NUM_VAL)):
            pixels, labels = draw_textures(number, _SIZE, stream=stream)
            splits.append(LabeledImages(CLASSES, np.arange(number).astype(str), labels, pixels))
        return splits[0], splits[1]
    train, _ = read_labeled_images(archive, "train")
    # CIFAR has no validation split; the paper reports errors on its test split too
    val, _ = read_labeled_images(archive, "val" if archive.suffix == ".npz" else "test")
    if num_images is not None and num_images < len(train):
        # at random: archives may be sorted by class
        train = train.only(np.random.default_rng(0).permutation(len(train))[:num_images])
    return train, val


if __name__ == "__main__":
    sys.exit(main())
