"""Arguments of a data module that its reading of files depends on, as a configuration and flags give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from vertebra.tools.arguments.command_line import Flag
from vertebra.tools.arguments.short_flags import task_of
from vertebra.tools.arguments.value_checks import names_known_classes

# by name, the types of a value
_READ: Mapping[str, tuple[type, ...]] = {
    "root": (str,),
    "train": (str, dict),
    "val": (str, dict),
    "test": (str, dict),
    "group": (str, type(None)),
    "classes": (str, type(None)),
    "ignored": (list, type(None)),
    "masks": (bool,),
    "orientation": (str, type(None)),
    "kind": (str,),
    "columns": (dict, type(None)),
    "leak": (str,),
    "missing": (str,),
    "class_names": (list, type(None)),
    "val_fraction": (int, float),
    "folds": (int,),
    "fold": (int,),
}
_CHOICES = {
    "orientation": ("shown", "stored", None),
    "kind": ("classes", "grades", "findings"),
    "leak": ("error", "drop", "checked"),
    "missing": ("error", "skip"),
}
# which change what is done with the samples, and no fault
_LATER = {
    "augment",
    "balance",
    "batch_size",
    "cache_mib",
    "combine",
    "crop",
    "decoder",
    "flip",
    "intensity",
    "no_flip_classes",
    "num_workers",
    "pad_to",
    "pixels",
    "predict",
    "predict_annotations",
    "repeats",
    "resample",
    "resize",
    "sampling",
    "tiles",
    "val_clips",
}
_SPLITS = {
    "classification": {"train": "train", "val": "val", "test": "test"},
    "detection": {},
    "medical": {"train": "train", "val": "val"},
    "segmentation": {},
    "video": {"train": "train", "val": "val", "test": "test"},
}  # that are read if none is given
_PARTS = {"detection": ("annotations", "images"), "segmentation": ("masks", "images")}  # of a split; first, the needed
_COLUMNS = ("path", "labels", "patient", "study")
_TEXTS = ("root", "train", "val", "test", "path", *(part for parts in _PARTS.values() for part in parts))


def reading_arguments(config: Mapping[str, Any], flags: Sequence[Flag]) -> dict[str, Any] | None:
    """Return the arguments of a data module that say what is read.

    Args:
        config: of a run.
        flags: long ones, which change it.

    Returns:
        The arguments by name; None where there is one of an unknown name or kind, or a class of the user.
    """
    task, data = task_of(config), config.get("data") or {}
    if task not in _SPLITS or not names_known_classes(config) or set(data) - {"class_path", "init_args"}:
        return None
    given = {**_SPLITS[task], **(data.get("init_args") or {})}
    for flag in flags:
        name, *keys = [key for key in flag.name.removeprefix("--").split(".") if key != "init_args"]
        if name == "data" and not _set(given, keys, flag.value):
            return None
    given = {name: value for name, value in given.items() if name not in _LATER}
    return given if _is_known(given, _PARTS.get(task, ())) else None


def _set(given: dict[str, Any], keys: Sequence[str], text: str | None) -> bool:
    """Change an argument; False where it is not known how."""
    if keys and keys[0].removesuffix("+") in _LATER:
        return True
    if len(keys) not in (1, 2) or text is None:
        return False
    value = (None if text in ("null", "None") else text) if keys[-1] in _TEXTS else _parsed(text)
    if len(keys) == 2:
        inner = given.get(keys[0]) or {}
        value = {**inner, keys[1]: value} if isinstance(inner, Mapping) else text
    given[keys[0]] = value
    return True


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _is_known(given: Mapping[str, Any], parts: Sequence[str]) -> bool:
    if not all(
        name in _READ and isinstance(value, _READ[name]) for name, value in given.items() if _is_given(name, value)
    ):
        return False
    if any(given.get(name, choices[0]) not in choices for name, choices in _CHOICES.items()):
        return False
    columns = given.get("columns") or {}
    if "root" not in given or set(columns) - set(_COLUMNS):
        return False
    for split in ("train", "val", "test"):
        value = given.get(split)
        if isinstance(value, str) == bool(parts) and value is not None:
            return False
        if isinstance(value, dict) and (set(value) - set(parts) or not isinstance(value.get(parts[0]), str)):
            return False
    return True


def _is_given(name: str, value: Any) -> bool:
    return value is not None or name not in ("train", "val", "test")
