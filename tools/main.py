"""The command `vertebra`: finds the command's own file and leaves the rest to it.

Nothing heavy is imported here, so that `vertebra --help` answers at once.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence

COMMANDS = {
    "fit": ("vertebra.tools.train", "train a network: vertebra fit -c TASK/NAME.yaml [--FLAG VALUE ...]"),
    "validate": ("vertebra.tools.train", "measure a checkpoint on the validation split and write the report"),
    "test": ("vertebra.tools.train", "the same on the test split"),
    "predict": ("vertebra.tools.predict", "use a checkpoint: vertebra predict CHECKPOINT IMAGES... [--output FOLDER]"),
    "replay": (
        "vertebra.tools.replay",
        "repeat the step at which a run diverged: vertebra replay runs/NAME/diverged.pt",
    ),
    "demo": ("vertebra.tools.demo", "make a small data set, train, measure, write the report: vertebra demo TASK"),
    "degradation": (
        "vertebra.tools.degradation",
        "plain against residual networks of two depths: what shortcuts are for",
    ),
    "folds": (
        "vertebra.tools.folds",
        "cross-validation: vertebra folds -c TASK/NAME.yaml [--folds 5] [--FLAG VALUE ...]",
    ),
    "compare": (
        "vertebra.tools.compare",
        "two runs on the same samples: AUROC, intervals, DeLong's test: vertebra compare RUN RUN",
    ),
    "check": ("vertebra.tools.check", "list every fault of a data set: vertebra check PATHS..."),
    "benchmark": (
        "vertebra.tools.benchmark",
        "time a training step beside the peers' own networks: vertebra benchmark detection",
    ),
    "backbones": ("vertebra.tools.backbones", "list the backbones: vertebra backbones [PATTERN]"),
}
LIGHTNING = ("fit", "validate", "test")  # one program with these as subcommands


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(_usage())
        return 0 if args else 2
    # what Lightning's own code calls is for Lightning to mend, not for our users to read
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    # transforms have pairs for arguments, and take lists as well, which is what a YAML makes of them
    warnings.filterwarnings("ignore", message="(?s).*a tuple is serialized as list")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    command, rest = args[0], args[1:]
    if command not in COMMANDS:
        print(f"vertebra: unknown command {command!r}; choose of {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    try:
        module = importlib.import_module(COMMANDS[command][0])
        return module.main([command, *rest] if command in LIGHTNING else rest)
    except KeyboardInterrupt:
        print("vertebra: stopped by SIGINT.", file=sys.stderr)
        return 130


def _usage() -> str:
    lines = [
        "usage: vertebra COMMAND ...",
        "",
        "Plugs ResNet-family backbones into classification, detection, segmentation, video and medical imaging.",
        "",
        *(f"  {name:<11} {text}" for name, (_, text) in COMMANDS.items()),
        "",
        "vertebra COMMAND --help tells a command's options.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
