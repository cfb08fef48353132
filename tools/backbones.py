"""`vertebra backbones [PATTERN]`: table of the registered backbones with parameters, GMACs and pretrained weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vertebra.backbones import Level


class BackboneInfo(NamedTuple):
    """Size and cost of a backbone.

    Attributes:
        name: registered name.
        parameters: number of parameters, without a classifier.
        gmacs: 10^9 multiply-accumulates of all convolutions and matrix products, for one input.
        size: (H, W) or (T, H, W) of that input.
        levels: name, channels and reduction of each feature level.
        weights: publishers whose checkpoints load.
    """

    name: str
    parameters: int
    gmacs: float
    size: tuple[int, ...]
    levels: str
    weights: list[str]


class Cost(NamedTuple):
    """Size and cost of a backbone for one input.

    Attributes:
        parameters: number of parameters, without a classifier.
        macs: multiply-accumulates of all convolutions and matrix products.
        size: (H, W) or (T, H, W) of the input.
        levels: the feature levels.
    """

    parameters: int
    macs: int
    size: tuple[int, ...]
    levels: Sequence[Level]


def count(name: str, size: tuple[int, ...] | None = None) -> Cost:
    """Count the parameters and multiply-accumulates of a backbone.

    Args:
        name: of the backbone.
        size: (H, W) or (T, H, W) of the input; None for that of its family.

    Raises:
        ValueError: unknown backbone.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from vertebra.backbones import create_backbone
    from vertebra.backbones.families import input_size

    # on the meta device nothing is allocated or computed: listing all backbones takes seconds and little memory
    with torch.device("meta"):
        network = create_backbone(name).eval()
        size = size or input_size(name, network.levels)
        images = torch.zeros(1, 3, *size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Cost(parameters, counter.get_total_flops() // 2, size, network.levels)  # two FLOPs per multiply-accumulate


def describe(name: str) -> BackboneInfo:
    """Return the row of a backbone in the table.

    Raises:
        ValueError: unknown backbone.
    """
    from vertebra.backbones.families import publishers

    cost = count(name)
    levels = "  ".join(f"{level.name}: {level.channels} / {_format_size(level.reduction)}" for level in cost.levels)
    return BackboneInfo(name, cost.parameters, cost.macs / 1e9, cost.size, levels, publishers(name))


def _format_size(size: int | tuple[int, ...]) -> str:
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def main(argv: Sequence[str] | None = None) -> int:
    """List backbones with parameters, GMACs, channels and reduction of each level, and publishers of weights."""
    parser = argparse.ArgumentParser(prog="vertebra backbones", description=main.__doc__)
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="PATTERN",
        help='shell pattern such as "resnet*", or one name with a prefix such as timm:convnext_tiny or tsm:resnet50 '
        "(default: all registered backbones)",
    )
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from vertebra.backbones import list_backbones

    # names with a prefix are open-ended (timm has over a thousand), so they are not listed and not matched
    names = [args.pattern] if ":" in args.pattern else list_backbones(args.pattern)
    if not names:
        print(f"vertebra: no backbone matches {args.pattern!r}; list all with vertebra backbones.", file=sys.stderr)
        return 1
    table = Table("backbone", "parameters", "GMACs", "input size", "level: channels / reduction", "weights")
    progress = Console(stderr=True)  # stdout holds the table only, so that it can be piped
    try:
        for name in track(names, "counting", console=progress, transient=True, disable=not progress.is_terminal):
            info = describe(name)
            table.add_row(
                info.name,
                f"{info.parameters:,}",
                f"{info.gmacs:.2f}",
                _format_size(info.size),
                info.levels,
                ", ".join(info.weights),
            )
    except ValueError as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    # a pipe has no width, and rich would wrap at 80 columns
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
