"""Metadata of an exported file: task, classes, preprocessing and configuration, as strings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = "vertebra-export-1"
_FORMAT_KEY = "vertebra_format"


def to_strings(entries: Mapping[str, Any]) -> dict[str, str]:
    """Return metadata as strings: a word as it is, any other value, and a string that is JSON itself, as JSON."""
    texts = {name: _text(value) for name, value in entries.items()}
    return {_FORMAT_KEY: FORMAT, **texts}


def from_strings(file: Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata of a file.

    Args:
        file: its path, for messages.
        texts: the strings in it.

    Raises:
        ValueError: `vertebra export` has not written it.
    """
    if (found := texts.get(_FORMAT_KEY)) != FORMAT:
        seen = f"its format is {found[:40]!r}" if found else "it has no metadata of this library"
        raise ValueError(
            f"{file}: was not written by `vertebra export` of this version: {seen}, expected {FORMAT!r}. Export the "
            "run again."
        )
    return {name: _value(text) for name, text in texts.items() if name != _FORMAT_KEY}


def _text(value: Any) -> str:
    if isinstance(value, str) and _value(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
