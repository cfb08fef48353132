"""Record of trials: a line of JSON for each, so that a search continues where it was interrupted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Trials:
    """Results by key, in a file that grows by one line for each.

    The first line holds the settings of the search.

    Args:
        file: created if missing, in an existing folder.
        settings: values that JSON can hold, on which results depend.

    Attributes:
        resumed: number of results that were in the file.

    Raises:
        ValueError: the file is of a search with other settings, or damaged before its last line.
    """

    def __init__(self, file: Path, settings: Mapping[str, Any]) -> None:
        self._file = file
        self._found: dict[str, dict[str, Any]] = {}
        if file.exists():
            self._read(dict(settings))
        self.resumed = len(self._found)
        if not file.exists():
            self._append({"settings": dict(settings)})

    def result(self, key: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the recorded result of a trial, or compute and record it.

        Args:
            key: what identifies the trial, such as name, epochs and seed.
            compute: returns numbers by name.
        """
        identity = json.dumps(dict(key), sort_keys=True)
        if identity not in self._found:
            result = compute()
            self._append({"trial": dict(key), "result": result})
            self._found[identity] = result
        return self._found[identity]

    def has(self, key: Mapping[str, Any]) -> bool:
        """Return whether a trial is recorded."""
        return json.dumps(dict(key), sort_keys=True) in self._found

    def _read(self, settings: dict[str, Any]) -> None:
        raw = self._file.read_bytes()
        lines, _, cut = raw.rpartition(b"\n")  # a process that was killed leaves the last line incomplete
        if cut:
            with self._file.open("r+b") as stream:
                stream.truncate(len(raw) - len(cut))
        if not lines:
            self._file.unlink()
            return
        for number, line in enumerate(lines.split(b"\n"), start=1):
            try:
                content = json.loads(line)
                if number == 1:
                    self._compare(content["settings"], settings)
                    continue
                identity, result = json.dumps(content["trial"], sort_keys=True), dict(content["result"])
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self._file}: line {number} is no trial ({error}); remove it, or search with another --output."
                ) from error
            self._found[identity] = result

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        differing = [name for name in sorted(now.keys() | before.keys()) if before.get(name) != now.get(name)]
        if differing:
            name = differing[0]
            raise ValueError(
                f"{self._file} is of a search with {name} {before.get(name)!r}, but this one has {now.get(name)!r}; "
                "continue it with the same flags, or give another --output."
            )

    def _append(self, content: Mapping[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(content)) + "\n")
            stream.flush()
            os.fsync(stream.fileno())  # a trial takes minutes, and a power cut must not lose it
