"""Null on the command line and in configuration files: `null` and `None` are both no value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

MODE = "yaml"  # the parser mode of LightningCLI


def load_none_as_null() -> None:
    """Make jsonargparse read `None` as it reads `null`.

    jsonargparse hands the value of a nested flag on as text, once for every class in between, and writes null as Python
    does. So `--model.network.weights null` would otherwise arrive as a path called None. An argument whose type is text
    alone still gets the word from the command line, and lists keep it, since a class may have this name.
    """
    load = get_loader(MODE)
    if not isinstance(load, _Loader):
        set_loader(MODE, _Loader(load), exceptions=(yaml.YAMLError,))


class _Loader:
    """A loader of YAML that replaces `None`, alone or as a value of a mapping, by null."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self._load = load

    def __call__(self, text: str) -> Any:
        return _nulls(self._load(text))


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [item if item == "None" else _nulls(item) for item in value]
    return None if value == "None" else value
