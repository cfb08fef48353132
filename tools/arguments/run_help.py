"""Help of `vertebra fit`, `validate` and `test`: one screen, without a heavy import."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from textwrap import wrap

from vertebra.tools.arguments.config_files import shipped_configs
from vertebra.tools.arguments.short_flags import SHORT_FLAGS

_USAGES = {
    "fit": (
        "usage: vertebra fit DATA [flags]",
        "       vertebra fit -c CONFIG [flags]",
        "",
        "Train a network on a data set, evaluate the best epoch and write report.html.",
        "DATA is what vertebra check reads: COCO's *.json, YOLO's data.yaml, VOC, folders of classes, masks or clips,",
        "a CSV or .npz; or one path for each split: train.csv val.csv. Task, classes and recipe follow from it.",
    ),
    "validate": (
        "usage: vertebra validate RUN [DATA] [flags]",
        "       vertebra validate -c runs/NAME/config.yaml [flags]",
        "",
        "Evaluate a run, or a checkpoint, on the validation split of a data set, or of its own, and write report.html.",
        "The classes are the checkpoint's, matched by name; one that the data set lacks, or has beside them, is named.",
    ),
    "test": (
        "usage: vertebra test RUN [DATA] [flags]",
        "       vertebra test -c runs/NAME/config.yaml [flags]",
        "",
        "Evaluate a run, or a checkpoint, on the test split of a data set, or of its own, and write report.html.",
        "The classes are the checkpoint's, matched by name; one that the data set lacks, or has beside them, is named.",
    ),
}
_EXAMPLES = {
    "fit": (
        "vertebra fit photos                                      a folder of one folder per class",
        "vertebra fit my_data/data.yaml --epochs 50 --batch auto  boxes in YOLO's format",
        "vertebra fit train.json val.json --backbone resnext50_32x4d --name big",
        "vertebra fit -c runs/big/config.yaml --ckpt_path last    continue a run that was stopped",
    ),
    "validate": ("vertebra validate runs/photos other_photos",),
    "test": ("vertebra test runs/photos/checkpoints/last.ckpt other_photos",),
}
_TASK = ("--task NAME", "where a data set suits several: detection, instances (masks), ...")


def short_help(command: str) -> str:
    """Return the help of a command on one screen."""
    rows = [(f"{flag.name} {flag.value}", flag.summary) for flag in SHORT_FLAGS]
    rows.append(_TASK)
    width = max(len(flag) for flag, _ in rows) + 2
    lines = [*_USAGES[command], "", "flags:", *(f"  {flag:<{width}}{summary}" for flag, summary in rows)]
    lines += ["", "examples:", *(f"  {example}" for example in _EXAMPLES[command])]
    if command == "fit":
        lines += ["", "recipes for -c TASK/NAME.yaml:", *_recipes()]
    lines += ["", f"vertebra {command} --help-all lists every argument of a configuration, each of which is a flag."]
    return "\n".join(lines)


def _recipes() -> list[str]:
    """Return the shipped recipes, a task in a line or more."""
    recipes = [name.removesuffix(".yaml").split("/") for name in shipped_configs()]
    lines = []
    for task, group in groupby(recipes, key=itemgetter(0)):
        names = ", ".join(name for _, name in group)
        lines += wrap(names, 118, initial_indent=f"  {task:<16}", subsequent_indent=" " * 18)
    return lines
