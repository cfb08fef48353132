"""The configuration inside a checkpoint, as `vertebra predict` uses it: plain values, and classes of this package.

A checkpoint may come from anyone, and whatever class or function a configuration names is imported and called. So
nothing that it names is imported before it is known to be ours, and what only training needs is left out unread:
optimizer, schedule, losses, augmentation, the paths of the data set, and where the network's first weights came from.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

OWN = ("vertebra.backbones", "vertebra.tasks")
TRAINING = {
    "model": ("optimizer", "schedule", "loss", "mixing", "compile_mode"),
    "data": ("augment", "crop", "root", "train", "val", "test", "classes", "predict", "class_names"),
}
FIRST_WEIGHTS = ("weights", "inflate_from")  # paths or names, which the checkpoint's own weights would replace

_WORD = re.compile(r"\w[\w.]*")  # which is itself in YAML, or a number

# far above any real configuration (some 5,000 characters, 200 values, 10 levels)
MOST_CHARACTERS, MOST_VALUES, DEEPEST = 500_000, 50_000, 40


def read_config(text: Any) -> dict[str, Any]:
    """Parse a checkpoint's configuration and return what predicting needs of it, under `model` and `data`.

    Raises:
        ValueError: it is no configuration of `vertebra fit`.
    """
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        size = f"{len(text)} characters" if isinstance(text, str) else f"a {type(text).__name__}"
        raise ValueError(f"its configuration is {size}; a text of up to {MOST_CHARACTERS} is expected.")
    try:
        config = _plain(yaml.safe_load(text), [MOST_VALUES])
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"its configuration is no YAML ({str(error).splitlines()[0]}).") from error
    parts = {key: config.get(key) if isinstance(config, dict) else None for key in TRAINING}
    for key, part in parts.items():
        if not (isinstance(part, dict) and isinstance(part.get("class_path"), str)):
            raise ValueError(f"its configuration has no {key}.class_path; a checkpoint of `vertebra fit` has.")
        if not isinstance(part.setdefault("init_args", {}), dict):
            raise ValueError(f"its configuration has no mapping under {key}.init_args.")
        if _is_ours(part["class_path"]):
            for name in TRAINING[key]:
                part["init_args"].pop(name, None)
    _drop_first_weights(parts)
    return parts


def check_names(config: Any) -> None:
    """Refuse a configuration that names anything but classes of this package, before anything of it is imported.

    Every text counts, wherever it is, since a text in the place of an object is taken for the name of a class, for the
    path of a configuration, or for YAML.

    Raises:
        ValueError: an entry names something else; the message gives the entry.
    """
    for entry, value in _texts(config, ""):
        if reason := _objection(value, is_class=entry.rpartition(".")[2] == "class_path"):
            place = ascii(entry)[1:-1]  # whose keys may hold anything
            raise ValueError(
                f"its configuration has {value[:80]!r} as {place}, {reason}; of a checkpoint only classes of "
                f"{' and '.join(OWN)} are used. If the file is your own, or you trust its author with this machine, "
                "add --trust."
            )


def _plain(value: Any, budget: list[int], depth: int = 0) -> Any:
    """Copy a parsed YAML without the sharing that aliases make, which grows without bounds where they nest."""
    budget[0] -= 1
    if budget[0] < 0 or depth > DEEPEST:
        raise ValueError(f"its configuration has over {MOST_VALUES} values or {DEEPEST} levels.")
    if isinstance(value, list):
        return [_plain(item, budget, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item, budget, depth + 1) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"its configuration holds a {type(value).__name__}; numbers, texts, lists and mappings are meant.")


def _drop_first_weights(value: Any) -> None:
    """Remove where a network of ours took its first weights from, at any depth."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _drop_first_weights(item)
    if isinstance(value, dict) and isinstance(value.get("init_args"), dict) and _is_ours(value.get("class_path")):
        for name in FIRST_WEIGHTS:
            if isinstance(value["init_args"].get(name), str):
                del value["init_args"][name]


def _texts(value: Any, entry: str) -> Iterator[tuple[str, str]]:
    """Yield every text with its place, such as `model.init_args.network.class_path`."""
    if isinstance(value, str):
        yield entry, value
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _texts(item, f"{entry}[{place}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{entry}.{key}".lstrip("."))


def _objection(text: str, is_class: bool) -> str | None:
    """Return why a text may not be in a configuration that is not trusted, or None."""
    try:
        meant = text if _WORD.fullmatch(text) else yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        meant = text
    if isinstance(meant, dict | list):
        return "which is YAML in a text"
    for name in {text.strip(), meant.strip() if isinstance(meant, str) else ""}:
        if is_class and not _is_our_class(name):
            return "which is no class of this package"
        if _is_importable(name) and not _is_our_class(name):
            return "which is the name of something to import"
    try:
        named = Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or a zero byte
        named = False
    return "which is the path of a file" if named else None


def _is_importable(name: str) -> bool:
    """Return whether a dotted name begins with a module of this machine; nothing is imported to find out."""
    first, dot, _ = name.partition(".")
    if not dot or not all(part.isidentifier() for part in name.split(".")):
        return False
    try:
        return importlib.util.find_spec(first) is not None
    except ValueError:  # a module without a specification, such as __main__
        return True


def _is_ours(name: Any) -> bool:
    return isinstance(name, str) and f"{name}.".startswith(tuple(f"{package}." for package in OWN))


def _is_our_class(name: str) -> bool:
    """Return whether a dotted name is that of a class that this package defines; only modules of ours are imported."""
    if not _is_ours(name) or not all(part.isidentifier() and part[0] != "_" for part in name.split(".")):
        return False
    top, package, *rest = name.split(".")
    found: Any = importlib.import_module(f"{top}.{package}")
    for part in rest:
        if not isinstance(found, ModuleType) or not _is_ours(found.__name__):
            return False
        inner = f"{found.__name__}.{part}"
        if not hasattr(found, part) and hasattr(found, "__path__") and importlib.util.find_spec(inner) is not None:
            importlib.import_module(inner)
        found = getattr(found, part, None)
    return isinstance(found, type) and _is_ours(found.__module__)
