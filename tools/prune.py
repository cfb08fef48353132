"""`vertebra prune RUN`: removes channels of a trained network, fine-tunes it, and measures what it gives and costs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vertebra.tools.arguments.early_checks import check_run
from vertebra.tools.errors import exit_code

_DESCRIPTION = """\
Remove the least important channels of a run's network, in groups of layers that belong together, until it has SPEEDUP
times fewer multiply-accumulates; estimate the statistics of its batch norms, and fine-tune it. The outputs of the
network, and the heads of detectors, are kept. The result is a run of its own, which predict, validate, export, share
and vertebra.load take. Metric, multiply-accumulates, parameters and latency before and after are printed and written to
pruning.json in it. Needs: pip install "vertebra[prune]".
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Prune the network of a run."""
    parser = argparse.ArgumentParser(
        prog="vertebra prune",
        usage="vertebra prune RUN [--speedup 2] [--epochs N] [--output FOLDER] [--FLAG VALUE ...]",
        description=_DESCRIPTION,
        epilog="Further flags are those of `vertebra fit` for the fine-tuning, such as --lr 0.001 or --teacher RUN.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder such as runs/NAME; its data set is needed")
    parser.add_argument("--speedup", type=float, default=2.0, help="ratio of multiply-accumulates (default: 2)")
    parser.add_argument(
        "--importance",
        choices=("taylor", "l2"),
        default="taylor",
        help="taylor: what the loss loses without a channel, on training samples (default); l2: size of its weights",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="of fine-tuning, 0 for none (default: a quarter)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="run folder to write (default: RUN_pruned)")
    args, flags = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: _prune(args, flags))


def _prune(args: argparse.Namespace, flags: Sequence[str]) -> None:
    if not args.speedup > 1:
        raise ValueError(f"--speedup is {args.speedup:g}; expected a number above 1, such as 2.")
    if args.epochs is not None and args.epochs < 0:
        raise ValueError(f"--epochs is {args.epochs}; expected a whole number, 0 for no fine-tuning.")
    check_run(args.run)
    from vertebra.tools.pruning.pruning_run import prune_run  # imports torch, which takes seconds

    print(prune_run(args.run, args.output, args.speedup, args.importance, args.epochs, flags))


if __name__ == "__main__":
    sys.exit(main())
