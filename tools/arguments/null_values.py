"""Null values on the command line and in configuration files, spelled `null` or `None`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

MODE = "yaml"  # the parser mode of LightningCLI


def load_none_as_null() -> None:
    """Make jsonargparse parse `None` like `null`.

    jsonargparse passes the value of a nested flag as a string through every class in between, and converts null to
    Python's `None` on the way, so that `--model.network.weights null` would arrive as a path named None. An argument of
    type `str` still receives the string from the command line, and lists keep it, since a class may be named None.
    """
    load = get_loader(MODE)
    # once per process: a program may run several commands
    if not isinstance(load, _Loader):
        set_loader(MODE, _Loader(load), exceptions=(yaml.YAMLError,))


class _Loader:
    """YAML loader that replaces the string `None`, alone or as a value of a mapping, by null."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self._load = load

    def __call__(self, text: str) -> Any:
        return _replace_none(self._load(text))


def _replace_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [item if item == "None" else _replace_none(item) for item in value]
    return None if value == "None" else value
