"""Validation of the configuration inside a checkpoint: plain values and classes of this package only.

A checkpoint is untrusted input, and jsonargparse imports and calls every class or function that a configuration names.
Therefore no name is imported before it is known to belong to this package. Entries that only training needs are dropped
without being parsed further: optimizer, schedule, losses, augmentation, data set paths and initial weights.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

OWN = ("vertebra.backbones", "vertebra.tasks")
TRAINING = {
    "model": ("optimizer", "schedule", "loss", "mixing", "compile_mode", "teacher", "distillation"),
    "data": (
        "augment",
        "crop",
        "root",
        "train",
        "val",
        "test",
        "classes",
        "predict",
        "predict_annotations",
        "class_names",
    ),
}
# paths or names of weights, which the checkpoint's own weights replace anyway
INITIAL_WEIGHTS = ("weights", "inflate_from")

_WORD = re.compile(r"\w[\w.]*")  # YAML parses it to the same string, or to a number: no need to parse it

# limits against resource exhaustion, far above real configurations (about 5,000 characters, 200 values, 10 levels)
MAX_CHARACTERS, MAX_VALUES, MAX_DEPTH = 500_000, 50_000, 40


def parse_config(text: Any) -> dict[str, Any]:
    """Parse the configuration of a checkpoint to plain values; nothing that it names is imported.

    Args:
        text: YAML of `vertebra fit`, or anything else that a damaged or malicious checkpoint holds in its place.

    Raises:
        ValueError: it is not a mapping in YAML of plain values.
    """
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        size = f"{len(text)} characters" if isinstance(text, str) else f"a {type(text).__name__}"
        raise ValueError(f"its configuration is {size}; a string of up to {MAX_CHARACTERS} characters is expected.")
    try:
        config = _copy_plain(yaml.safe_load(text), [MAX_VALUES])
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"its configuration is not valid YAML ({str(error).splitlines()[0]}).") from error
    return config if isinstance(config, dict) else {}


def read_config(text: Any) -> dict[str, Any]:
    """Parse the configuration of a checkpoint and return the parts that prediction needs: `model` and `data`.

    Args:
        text: as for `parse_config`.

    Raises:
        ValueError: it is not a configuration of `vertebra fit`.
    """
    config = parse_config(text)
    parts = {key: config.get(key) for key in TRAINING}
    for key, part in parts.items():
        if not (isinstance(part, dict) and isinstance(part.get("class_path"), str)):
            raise ValueError(f"its configuration has no {key}.class_path; one of `vertebra fit` is expected.")
        if not isinstance(part.setdefault("init_args", {}), dict):
            raise ValueError(f"its configuration has no mapping under {key}.init_args.")
        # a foreign class (--trust) may use arguments of these names for inference too
        if _is_ours(part["class_path"]):
            for name in TRAINING[key]:
                part["init_args"].pop(name, None)
    drop_initial_weights(parts)
    return parts


def inference_config(
    checkpoint: Path, content: dict[str, Any], paths: Sequence[str] = (), trust: bool = False
) -> dict[str, Any]:
    """Return the training configuration of a checkpoint, adapted to prediction on `paths`.

    Args:
        checkpoint: path of the checkpoint, for messages.
        content: of the checkpoint.
        paths: files, and folders of files.
        trust: whether the configuration may name classes outside this package.

    Raises:
        ValueError: `vertebra fit` has not written it, or it names untrusted classes.
    """
    try:
        config = read_config(content.get("config"))
        if not trust:
            check_names(config)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    # a training set is not needed: the classes and their order come from the checkpoint
    arguments = config["data"]["init_args"]
    arguments["predict"] = list(paths)
    arguments["class_names"] = content["class_names"]
    return config


def check_names(config: Any) -> None:
    """Refuse a configuration with any name outside this package; nothing is imported before its name is accepted.

    All strings are checked and not just class paths: where jsonargparse expects an object, it takes a string for a
    class name, for the path of a configuration file, or for YAML.

    Raises:
        ValueError: an entry is refused; the message has its key and value.
    """
    for entry, value in _strings(config, ""):
        if reason := _reason_to_refuse(value, is_class=entry.rpartition(".")[2] == "class_path"):
            key = ascii(entry)[1:-1]  # keys are untrusted too: no control characters in a terminal
            raise ValueError(
                f"its configuration has {value[:80]!r} as {key}, {reason}; only classes of {' and '.join(OWN)} are "
                "accepted from a checkpoint. If it is your own, or you trust its author with this machine, add --trust."
            )


def _copy_plain(value: Any, budget: list[int], depth: int = 0) -> Any:
    """Deep-copy parsed YAML within a budget of values.

    YAML aliases share objects, so a few lines of nested aliases expand to billions of values ("billion laughs"), and an
    alias to its own parent never ends.
    """
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_DEPTH:
        raise ValueError(f"its configuration has more than {MAX_VALUES} values or {MAX_DEPTH} levels.")
    if isinstance(value, list):
        return [_copy_plain(item, budget, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(key): _copy_plain(item, budget, depth + 1) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"its configuration holds a {type(value).__name__}; only numbers, strings, lists and mappings are expected."
    )


def drop_initial_weights(value: Any) -> None:
    """Delete the source of initial weights from networks of this package, at any depth."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        drop_initial_weights(item)
    if isinstance(value, dict) and isinstance(value.get("init_args"), dict) and _is_ours(value.get("class_path")):
        for name in INITIAL_WEIGHTS:
            if isinstance(value["init_args"].get(name), str):
                del value["init_args"][name]


def _strings(value: Any, entry: str) -> Iterator[tuple[str, str]]:
    """Yield every string with its dotted key, such as `model.init_args.network.class_path`."""
    if isinstance(value, str):
        yield entry, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{entry}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, f"{entry}.{key}".lstrip("."))


def _reason_to_refuse(text: str, is_class: bool) -> str | None:
    """Return why a string is not accepted from an untrusted configuration, or None if it is."""
    # parsed once more, as jsonargparse does: quotes or YAML inside a string must not hide a name
    try:
        parsed = text if _WORD.fullmatch(text) else yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        parsed = text
    if isinstance(parsed, dict | list):
        return "which is YAML inside a string"
    for name in {text.strip(), parsed.strip() if isinstance(parsed, str) else ""}:
        if is_class and not _is_our_class(name):
            return "which is not a class of this package"
        if _is_importable(name) and not _is_our_class(name):
            return "which is the name of an importable object"
    try:
        is_file = Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or with a null byte
        is_file = False
    return "which is the path of a file" if is_file else None


def _is_importable(name: str) -> bool:
    """Return whether a dotted name starts with an installed module; `find_spec` of a top-level name imports nothing."""
    first, dot, _ = name.partition(".")
    if not dot or not all(part.isidentifier() for part in name.split(".")):
        return False
    try:
        return importlib.util.find_spec(first) is not None
    except ValueError:  # loaded but without a spec, such as __main__
        return True


def _is_ours(name: Any) -> bool:
    return isinstance(name, str) and f"{name}.".startswith(tuple(f"{package}." for package in OWN))


def _is_our_class(name: str) -> bool:
    """Return whether a dotted name is a class defined in this package; only modules of this package are imported."""
    # no private names: they are not constructor arguments of a configuration
    if not _is_ours(name) or not all(part.isidentifier() and part[0] != "_" for part in name.split(".")):
        return False
    top, package, *rest = name.split(".")
    # one attribute at a time: `vertebra.tasks.x.os.system` reaches a foreign module through an import of ours
    target: Any = importlib.import_module(f"{top}.{package}")
    for depth, part in enumerate(rest, start=1):
        if not isinstance(target, ModuleType) or not _is_ours(target.__name__):
            return False
        submodule = f"{target.__name__}.{part}"
        is_module = hasattr(target, "__path__") and importlib.util.find_spec(submodule) is not None
        # an exported class may have the name of its module, which the attribute then hides
        target = importlib.import_module(submodule) if is_module and depth < len(rest) else getattr(target, part, None)
    # the defining module decides: a foreign class imported into one of our modules is foreign
    return isinstance(target, type) and _is_ours(target.__module__)
