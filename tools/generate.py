"""`vertebra generate RUN`: images of a trained generator, as a folder for each class."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vertebra.tools.arguments.early_checks import check_run

_DESCRIPTION = """\
Write images of a trained generator to FOLDER/CLASS/000000.png and so on, a data set that `vertebra fit FOLDER` takes,
and the first ones of each class to FOLDER/samples.png. An image depends on the seed, its class and its number only.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write generated images."""
    parser = argparse.ArgumentParser(
        prog="vertebra generate", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of a generator, checkpoint or shared folder")
    parser.add_argument("--count", type=int, default=16, metavar="N", help="images of each class (default: 16)")
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="names of classes (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where to write (default: generated in the current folder)"
    )
    parser.add_argument("--trust", action="store_true", help="allow classes outside this package in the configuration")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    folder = args.output or Path("generated")
    try:
        if args.count < 1:
            raise ValueError(f"--count is {args.count}; expected a whole number of 1 or more.")
        if args.seed < 0:
            raise ValueError(f"--seed is {args.seed}; expected a whole number of 0 or more.")
        check_run(args.run)
        from vertebra.tools.trained.generating import write_generated  # these import torch, which takes seconds
        from vertebra.tools.trained.run import load

        number = write_generated(load(args.run, trust=args.trust), folder, args.count, args.classes, args.seed)
        print(f"{folder}: {number} images, and samples.png")
    except (ValueError, OSError) as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
