"""Arguments of the commands that write a file of a run, such as `vertebra export` and `vertebra quantize`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def file_parser(command: str, description: str, output: str) -> argparse.ArgumentParser:
    """Return a parser of RUN and `--output FILE`.

    Args:
        command: such as `vertebra export`.
        description: for the help.
        output: help of `--output`, behind "file to write".
    """
    parser = argparse.ArgumentParser(
        prog=command, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder such as runs/NAME, or a checkpoint")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"file to write: {output}")
    return parser


def add_input_arguments(parser: argparse.ArgumentParser, normalized: str, images: str) -> None:
    """Add `--normalized`, `--images PATH...` and `--trust`; `normalized` and `images` are their help."""
    parser.add_argument(
        "--normalized", action="store_true", help=f"the file takes normalized float32 inputs{normalized}"
    )
    parser.add_argument("--images", type=Path, nargs="+", metavar="PATH", help=f"samples to {images}")
    parser.add_argument("--trust", action="store_true", help="allow classes outside this package in the configuration")


def check_output(output: Path | None, suffixes: Sequence[str], condition: str = "") -> None:
    """Refuse a file to write that has another suffix; `condition` is added to the message.

    Raises:
        ValueError: it has.
    """
    if output is not None and output.suffix not in suffixes:
        raise ValueError(f"--output is {output}; expected a name that ends in {' or '.join(suffixes)}{condition}.")
