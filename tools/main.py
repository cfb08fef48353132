"""Entry point of `vertebra`: dispatches subcommands.

Nothing heavy is imported here, so that `vertebra --help` returns at once.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.metadata
import io
import os
import platform
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import vertebra


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        module: whose `main` runs it; imported on demand only.
        summary: one line for `vertebra --help`.
    """

    module: str
    summary: str


# in the order of a workflow, which is also the order of `vertebra --help`
GROUPS: Mapping[str, Mapping[str, Command]] = {
    "Data": {
        "check": Command("vertebra.tools.check", "report every fault of a data set: vertebra check PATH..."),
    },
    "Training and evaluation": {
        "fit": Command("vertebra.tools.fit", "train a network on a data set: vertebra fit DATA [--FLAG VALUE ...]"),
        "validate": Command("vertebra.tools.fit", "evaluate a run on a validation split: vertebra validate RUN [DATA]"),
        "test": Command("vertebra.tools.fit", "evaluate a run on a test split: vertebra test RUN [DATA]"),
        "folds": Command(
            "vertebra.tools.folds", "cross-validate: vertebra folds -c TASK/NAME.yaml [--folds 5] [--FLAG VALUE ...]"
        ),
        "compare": Command(
            "vertebra.tools.compare", "compare the AUROC of two runs, DeLong's test: vertebra compare RUN RUN"
        ),
        "replay": Command(
            "vertebra.tools.replay", "repeat the step at which a run diverged: vertebra replay runs/NAME/diverged.pt"
        ),
    },
    "Inference": {
        "export": Command("vertebra.tools.export", "write a model as ONNX, compared with the run: vertebra export RUN"),
        "prune": Command(
            "vertebra.tools.prune", "remove channels of a network, fine-tune: vertebra prune RUN --speedup 2"
        ),
        "quantize": Command("vertebra.tools.quantize", "write a model as int8 ONNX, measured: vertebra quantize RUN"),
        "share": Command("vertebra.tools.share", "write a model for others, with a card: vertebra share RUN FOLDER"),
        "predict": Command(
            "vertebra.tools.predict",
            "run a trained model on files: vertebra predict RUN PATH... [--output FOLDER]",
        ),
        "generate": Command("vertebra.tools.generate", "write images of a trained generator: vertebra generate RUN"),
    },
    "Demos and measurements": {
        "demo": Command(
            "vertebra.tools.demo", "generate a small data set, train, evaluate, report: vertebra demo TASK"
        ),
        "degradation": Command(
            "vertebra.tools.degradation", "train plain and residual networks of two depths, compare their errors"
        ),
        "search": Command(
            "vertebra.tools.search",
            "find a network within a budget or latency: vertebra search --budget 20M [-c TASK/NAME.yaml]",
        ),
        "analyze": Command(
            "vertebra.tools.analyze", "why residual networks work: vertebra analyze WHAT RUN_OR_NAME [--FLAG VALUE ...]"
        ),
        "backbones": Command("vertebra.tools.backbones", "list the backbones: vertebra backbones [PATTERN]"),
        "benchmark": Command(
            "vertebra.tools.benchmark", "measure speed and memory against other libraries: vertebra benchmark [WHAT]"
        ),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
LIGHTNING = ("fit", "validate", "test")  # subcommands of one LightningCLI, which needs the name itself

# names of the same commands in other libraries, too far in spelling for difflib
_SYNONYMS = {"train": "fit", "training": "fit", "eval": "validate", "evaluate": "validate", "val": "validate"}
_SYNONYMS |= {"infer": "predict", "inference": "predict", "cv": "folds", "bench": "benchmark", "models": "backbones"}
_DEFAULT_WARNING_TEXT = warnings.formatwarning


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand named by the first argument and return its exit code."""
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()  # here and not when Python ends, so that a closed pipe is found
    except BrokenPipeError:  # whoever reads the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush fails once more
        return 141  # 128 + SIGPIPE


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(_usage())
        return 0 if args else 2
    if args[0] in ("-V", "--version"):
        print(_versions())
        return 0
    # deprecations in Lightning's calls of jsonargparse and torch: a user can do nothing about them
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    # transforms are annotated with tuples but accept lists, which is how YAML writes a tuple
    warnings.filterwarnings("ignore", message="(?s).*a tuple is serialized as list")
    warnings.formatwarning = _warning_text
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid UTF-8
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        print(f"vertebra: {_unknown(name)}", file=sys.stderr)
        return 2
    try:
        # inside the try: importing torch takes seconds, in which Ctrl-C must not print a traceback
        module = importlib.import_module(COMMANDS[name].module)
        return module.main([name, *rest] if name in LIGHTNING else rest)
    except KeyboardInterrupt:
        print("vertebra: stopped by SIGINT.", file=sys.stderr)
        return 130  # 128 + SIGINT, the shell's convention


def _versions() -> str:
    """Return the versions that a bug report needs, without importing the libraries, which takes seconds."""
    lines = [f"vertebra {vertebra.__version__}", f"python {platform.python_version()}, {platform.platform()}"]
    for library in ("torch", "torchvision", "lightning", "timm", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            lines.append(f"{library} {importlib.metadata.version(library)}")
    return "\n".join(lines)


def _warning_text(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning on data or a run as one line, others with the line of code that they are about."""
    if issubclass(category, UserWarning):
        return f"vertebra: warning: {message}\n"
    return _DEFAULT_WARNING_TEXT(message, category, filename, lineno, line)


def _unknown(name: str) -> str:
    """Return the error message for an unknown command, with the closest known one."""
    close = [_SYNONYMS[name]] if name in _SYNONYMS else difflib.get_close_matches(name, COMMANDS, n=1)
    if close:
        close = ["vertebra fit DATA"] if close == ["fit"] else close
        return f"unknown command {name!r}; did you mean {close[0]}? All commands: vertebra --help."
    return f"unknown command {name!r}; choose one of {', '.join(COMMANDS)}."


def _usage() -> str:
    lines = [
        "usage: vertebra COMMAND ...",
        "",
        "ResNet-family backbones for classification, detection, segmentation, video and medical imaging.",
    ]
    width = max(map(len, COMMANDS)) + 2
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:<{width}}{command.summary}" for name, command in group.items())]
    lines += [
        "",
        "Run vertebra COMMAND --help for the options of a command, vertebra --version for all versions.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
