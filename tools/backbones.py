"""`vertebra backbones [PATTERN]`: the registered backbones with their sizes and costs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """What the table says about a backbone.

    Attributes:
        name: by which users reach it.
        parameters: their number, without a classifier.
        gmacs: billions of multiply-adds of its convolutions and matrix products for one input.
        size: (H, W) or (T, H, W) of that input.
        levels: names, channels and reductions.
        weights: publishers whose weights load.
    """

    name: str
    parameters: int
    gmacs: float
    size: tuple[int, ...]
    levels: str
    weights: list[str]


def describe(name: str) -> Row:
    """Build a backbone without memory, and count its parameters and the operations for one input.

    Raises:
        ValueError: there is no such backbone.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from vertebra.backbones import create_backbone
    from vertebra.backbones.families import input_size, publishers

    with torch.device("meta"):
        network = create_backbone(name).eval()
        size = input_size(name, network.levels)
        images = torch.zeros(1, 3, *size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    levels = "  ".join(f"{level.name}: {level.channels} / {_written(level.reduction)}" for level in network.levels)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Row(name, parameters, counter.get_total_flops() / 2e9, size, levels, publishers(name))


def _written(size: int | tuple[int, ...]) -> str:
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def main(argv: Sequence[str] | None = None) -> int:
    """List the backbones: parameters, multiply-adds, each level's channels and reduction, whose weights load."""
    parser = argparse.ArgumentParser(prog="vertebra backbones", description=main.__doc__)
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        help='shell pattern of names, such as "resnet*", or one name with a prefix, such as timm:convnext_tiny or '
        "tsm:resnet50 (default: all)",
    )
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from vertebra.backbones import list_backbones

    names = [args.pattern] if ":" in args.pattern else list_backbones(args.pattern)
    if not names:
        print(f"vertebra: no backbone is called like {args.pattern!r}; vertebra backbones lists all.", file=sys.stderr)
        return 1
    table = Table("backbone", "parameters", "GMACs", "at", "level: channels / reduction", "weights")
    waiting = Console(stderr=True)
    try:
        for name in track(names, "counting", console=waiting, transient=True, disable=not waiting.is_terminal):
            row = describe(name)
            table.add_row(
                row.name,
                f"{row.parameters:,}",
                f"{row.gmacs:.2f}",
                _written(row.size),
                row.levels,
                ", ".join(row.weights),
            )
    except ValueError as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
