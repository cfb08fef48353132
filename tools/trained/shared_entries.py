"""Entries of a shared folder, read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vertebra.tools.trained.checkpoint_config import MAX_CHARACTERS

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = "vertebra-1"


def is_shared(path: Path) -> bool:
    """Return whether a path is a shared folder."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def read_entries(folder: Path) -> dict[str, Any]:
    """Return the entries of `config.json`.

    Raises:
        ValueError: it is no configuration of `vertebra share`.
    """
    file = folder / CONFIG
    if file.stat().st_size > 4 * MAX_CHARACTERS:
        raise ValueError(f"{file}: has {file.stat().st_size} bytes; a configuration of `vertebra share` is expected.")
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file}: is not valid JSON ({reason}). Copy or download the folder again.") from error
    if not isinstance(entries, dict) or entries.get("format") != FORMAT or not isinstance(entries.get("config"), dict):
        found = entries.get("format") if isinstance(entries, dict) else type(entries).__name__
        raise ValueError(
            f"{file}: its format is {str(found)[:40]!r}; {FORMAT!r}, which `vertebra share` writes, is expected. Share "
            "the run again."
        )
    return entries
