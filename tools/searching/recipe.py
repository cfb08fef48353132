"""A recipe of `vertebra fit` with a user's flags, as a search trains candidates by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pydoc import locate
from typing import Any, NamedTuple

import yaml

from vertebra.tools.arguments.command_line import Flag, read_words
from vertebra.tools.arguments.config_files import find_config
from vertebra.tools.arguments.flag_names import refuse_unknown, refuse_unknown_keys
from vertebra.tools.arguments.read_configs import read_configs
from vertebra.tools.arguments.short_flags import expand_short, task_of

# task -> argument with the height and width of what the network sees; tasks whose samples are single images
_SIDES = {
    "classification": "data.resize.size",
    "detection": "data.resize.short",
    "medical": "data.resample.size",
    "segmentation": "data.crop.size",
}
_FOLDS = 4  # of the training split, one of which selects
# flags that a search sets for each candidate
_OWN = ("model.network.backbone", "trainer.max_epochs", "seed_everything", "trainer.default_root_dir", "ckpt_path")


class Recipe(NamedTuple):
    """A recipe with flags.

    Attributes:
        file: its path.
        flags: of the user, as words of `vertebra fit`.
        task: of the data.
        side: height and width of what the network sees, the shorter side if they differ.
        resizes: whether that may be changed; not where an augmentation crops to a size of its own.
        metric: of the validation split by which networks are compared.
        higher: whether more of it is better.
        selecting: words that hold out a part of the training split for the selection.
        comparing: words that hold out what the comparison measures on, which selects nothing.
    """

    file: Path
    flags: list[str]
    task: str
    side: int
    resizes: bool
    metric: str
    higher: bool
    selecting: list[str]
    comparing: list[str]

    def error(self, metrics: Mapping[str, float | None]) -> float:
        """Return what a search minimizes: one minus the metric where more is better; NaN where it is undefined.

        Args:
            metrics: of the validation split, without `val/`.

        Raises:
            ValueError: it was not measured.
        """
        name = self.metric.removeprefix("val/")
        if name not in metrics:
            raise ValueError(f"{self.file}: measures {', '.join(metrics)}; expected {name}, which compares networks.")
        value = metrics[name]
        if value is None:
            return float("nan")
        return 1 - value if self.higher else value


def read_recipe(name: str, words: Sequence[str]) -> Recipe:
    """Read a recipe and the flags of `vertebra fit` behind it.

    Raises:
        FileNotFoundError: there is no such recipe.
        ValueError: a flag is unknown or set by the search, or no network can be searched for by the recipe.
    """
    file = find_config(name)
    config = read_configs([file])
    refuse_unknown_keys(config, str(file))
    given = read_words(words)
    if given.paths:
        raise ValueError(f"{given.paths[0]!r} is given; expected flags of vertebra fit, such as --data.root FOLDER.")
    refuse_unknown(given.flags, config)
    long = [flag for _, flags in expand_short(given.flags, config) for flag in flags]
    for flag in long:
        if flag.name.removeprefix("--") in _OWN:
            raise ValueError(f"{flag.name} is given, which a search sets for each network; leave it out.")
    task = task_of(config)
    if task not in _SIDES:
        raise ValueError(f"{file}: is not of {', '.join(_SIDES)}, the tasks of images whose networks can be searched.")
    if _setting("model.network.weights", config, long) is not None:
        raise ValueError(
            f"{file}: starts from trained weights, which no network of a search has; give a recipe for random ones, "
            f"such as {task}/scratch*.yaml, or --weights none."
        )
    module: Any = locate(config["model"]["class_path"])
    metric, direction = module.choose_monitor(config["model"].get("init_args") or {})
    return Recipe(
        file,
        [word for flag in given.flags for word in flag.words()],
        task,
        _side(file, task, config, long),
        not _crops(_setting("data.augment", config, long)),
        metric,
        direction == "max",
        *_divisions(config, long),
    )


def _setting(name: str, config: Mapping[str, Any], long: Sequence[Flag]) -> Any:
    """Return the value of an argument: of the last flag that sets it, else of the configuration, else None."""
    for flag in reversed(long):
        if flag.name == f"--{name}" and flag.value is not None:
            return yaml.safe_load(flag.value)
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping) and "class_path" in value:
            value = value.get("init_args") or {}
    return value


def _side(file: Path, task: str, config: Mapping[str, Any], long: Sequence[Flag]) -> int:
    value = _setting(_SIDES[task], config, long)
    sides = value if isinstance(value, list) else [value]
    if len(sides) > 2 or not all(isinstance(side, int) for side in sides):
        raise ValueError(f"{file}: {_SIDES[task]} is {value}; expected height and width of images. Give --size PIXELS.")
    return min(sides)


def _crops(augment: Any) -> bool:
    """Return whether an augmentation makes images of a size of its own."""
    parts = [part for part in augment or [] if isinstance(part, Mapping)]
    return any({"height", "size"} & set(part.get("init_args") or {}) for part in parts)


def _divisions(config: Mapping[str, Any], long: Sequence[Flag]) -> tuple[list[str], list[str]]:
    """Return the flags that hold out images for the selection, and those for the comparison."""

    def fold(number: int, count: int) -> list[str]:
        return ["--data.val_fraction", "0", "--data.folds", str(count), "--data.fold", str(number % count)]

    fraction = _setting("data.val_fraction", config, long)
    if fraction:  # the validation split is a part of the training split, so both need a part of their own
        count = max(2, round(1 / fraction))
        return fold(1, count), fold(0, count)
    folds = _setting("data.folds", config, long)
    if folds:
        held = _setting("data.fold", config, long) or 0
        return fold(held + 1, folds), fold(held, folds)
    return fold(0, _FOLDS), []
