"""Checks of values that need no heavy import: class names, backbones, numbers, and files of the data set."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vertebra.tools.arguments.backbone_names import refuse_unknown_backbone
from vertebra.tools.arguments.command_line import Flag
from vertebra.tools.arguments.flag_names import owners
from vertebra.tools.arguments.signatures import class_names_of, is_found

_BACKBONE = "model.network.backbone"
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
# prefixes of classes that register no backbone of a user
_KNOWN_PACKAGES = ("vertebra.", "torch.", "torchvision.", "albumentations.", "lightning.", "monai.")
_FILES = ("annotations", "images", "masks")  # arguments of a split that are paths below `data.root`


def check_values(flags: Sequence[Flag], config: Mapping[str, Any], place: str = "") -> None:
    """Refuse values that no run can begin with.

    Args:
        flags: long ones, which change the configuration.
        config: the configuration.
        place: file of the configuration, for messages; empty where only the flags are to be checked.

    Raises:
        ValueError: a class or backbone does not exist, or a value is not of the type of its argument.
        FileNotFoundError: there is no such file.
    """
    given = [(f"--{flag.name.lstrip('-')}", flag.name.lstrip("-"), flag.value) for flag in flags]
    written = [(f"{place}: {key}", key, value) for key, value in _leaves(config)] if place else []
    chosen = {key for _, key, _ in given}
    for title, key, value in [*given, *((title, key, value) for title, key, value in written if key not in chosen)]:
        _check_class(title, key, value, config)
        if key in (_BACKBONE, f"{_BACKBONE}.name") and isinstance(value, str) and "." not in value:
            if names_known_classes(config):
                refuse_unknown_backbone(value)
        else:
            _check_type(title, key, value, config, flags)
    _check_files(given, written)


def _check_class(title: str, key: str, value: Any, config: Mapping[str, Any]) -> None:
    """Refuse a class of this package that does not exist, by its dotted name or, of a network, by its own."""
    if not isinstance(value, str):
        return
    package, name = "", value
    if value.startswith("vertebra.") and (key.endswith("class_path") or key == "model.network"):
        package, name = value.rpartition(".")[0], value.rpartition(".")[2]
    elif key == "model.network" and value.isidentifier():
        package = str(config.get("model", {}).get("class_path", "")).rpartition(".")[0]
    if not package.startswith("vertebra.") or is_found(f"{package}.{name}"):
        return
    known = class_names_of(package)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"expected one of {', '.join(known)}."
    raise ValueError(f"{title} is {value}, which does not exist; {hint}")


def _check_type(title: str, key: str, value: Any, config: Mapping[str, Any], flags: Sequence[Flag]) -> None:
    """Refuse text, lists and mappings for an argument that is a number or true or false."""
    parts = key.split(".")
    places = [(part, found) for _, part, found in owners(parts, config, flags)]
    if not places or len(places) != len(parts) - 1 or value is None:
        return
    part, found = places[-1]
    kinds = _kinds(found.annotations.get(part, "") if found else "")
    if not kinds or not kinds <= {*_KINDS, "None"}:
        return
    read = _read(value) if isinstance(value, str) else value
    if not (read is None or (isinstance(read, bool) and "bool" in kinds) or _is_number(read, kinds)):
        wanted = kinds - ({"int"} if "float" in kinds else set())
        words = " or ".join(text for kind, text in _KINDS.items() if kind in wanted)
        raise ValueError(f"{title} is {value!r:.80}; expected {words}. Correct it.")


def _is_number(value: Any, kinds: set[str]) -> bool:
    if isinstance(value, bool) or not kinds & {"int", "float"}:
        return False
    try:
        return not isinstance(value, list | dict) and float(value) is not None
    except (TypeError, ValueError):
        return False


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _kinds(annotation: str) -> set[str]:
    """Return the alternatives of an annotation such as `int | None` or `Optional[Union[int, float]]`."""
    node = ast.parse(annotation or "''", mode="eval").body
    return set(_alternatives(node))


def _alternatives(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.BinOp):
        yield from _alternatives(node.left)
        yield from _alternatives(node.right)
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("Optional", "Union"):
        yield from ["None"] if ast.unparse(node.value) == "Optional" else []
        for one in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
            yield from _alternatives(one)
    elif (text := ast.unparse(node)) not in ("Tensor", "torch.Tensor"):  # which no text can be
        yield text


def _check_files(given: Sequence[tuple[str, str, Any]], written: Sequence[tuple[str, str, Any]]) -> None:
    """Refuse a root of the data that does not exist, and files that were given below it."""
    roots = [(title, value) for title, key, value in [*written, *given] if key == "data.root"]
    if not roots or not isinstance(roots[-1][1], str):
        return
    title, root = roots[-1]
    if not Path(root).exists():
        raise FileNotFoundError(f"{root} does not exist ({title}); give the data set: --data.root FOLDER.")
    for title, key, value in given:
        parts = key.split(".")
        is_file = len(parts) == 3 and parts[0] == "data" and parts[2] in _FILES and isinstance(value, str)
        if is_file and value != "null" and not Path(root, value).exists():
            raise FileNotFoundError(f"{Path(root, value)} does not exist ({title}); correct the path.")


def names_known_classes(config: Mapping[str, Any]) -> bool:
    """Return whether no class of a configuration may have registered a backbone of its own."""
    paths = [value for key, value in _leaves(config) if key.endswith("class_path") and isinstance(value, str)]
    return all(path.startswith(_KNOWN_PACKAGES) for path in paths)


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield keys as flags are spelled, without `init_args`, and their values that are no mappings."""
    for key, value in config.items():
        name = prefix.rstrip(".") if key == "init_args" else f"{prefix}{key}"
        if isinstance(value, Mapping) and key != "dict_kwargs":
            yield from _leaves(value, f"{name}.")
        elif key != "dict_kwargs":
            yield name, value
