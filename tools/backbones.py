"""`vertebra backbones [PATTERN]`: the registered backbones with their sizes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """List the backbones: name, parameters, and each level's channels and reduction."""
    parser = argparse.ArgumentParser(prog="vertebra backbones", description=main.__doc__)
    parser.add_argument(
        "pattern", nargs="?", default="*", help='shell pattern of names, such as "resnet*" (default: all)'
    )
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    import torch  # after the help, which has no need of it
    from rich.console import Console
    from rich.table import Table

    from backbones import create_backbone, list_backbones

    names = list_backbones(args.pattern)
    if not names:
        print(f"vertebra: no backbone is called like {args.pattern!r}; vertebra backbones lists all.", file=sys.stderr)
        return 1
    table = Table("backbone", "parameters", "level: channels / reduction")
    for name in names:
        with torch.device("meta"):  # sizes without memory
            network = create_backbone(name)
        count = sum(parameter.numel() for parameter in network.parameters())
        levels = "  ".join(f"{level.name}: {level.channels} / {level.reduction}" for level in network.levels)
        table.add_row(name, f"{count:,}", levels)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
