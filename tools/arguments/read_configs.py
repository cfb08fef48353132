"""Configurations as plain mappings, without the classes that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml


def read_configs(files: Iterable[Path]) -> dict[str, Any]:
    """Return configurations merged into one, later ones over earlier ones.

    Raises:
        ValueError: a file is not YAML, or holds no mapping.
    """
    merged: dict[str, Any] = {}
    for file in files:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{file}: {reason:.300}; expected a configuration in YAML. Correct the file.") from None
        if not isinstance(content, dict):
            raise ValueError(f"{file}: holds {content!r:.80}; expected a configuration with model, data and trainer.")
        merged = _merge(merged, content)
    return merged


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merge(first[key], second[key]) for key in first if _are_mappings(first[key], second.get(key))}
    return {**first, **second, **both}


def _are_mappings(first: Any, second: Any) -> bool:
    return isinstance(first, Mapping) and isinstance(second, Mapping)
