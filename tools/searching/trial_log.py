"""File that takes what trainings print."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

# whose handlers keep the stream of their creation
_LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "vertebra.backbones", "vertebra.tasks")


@contextmanager
def printing_to(file: Path) -> Iterator[None]:
    """Append what is printed and logged to a file."""
    outer = sys.stderr
    with file.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        _log_to(log)
        try:
            yield
        finally:
            _log_to(outer)


def _log_to(stream: TextIO) -> None:
    for name in _LOGGERS:
        for handler in logging.getLogger(name).handlers:
            if type(handler) is logging.StreamHandler:  # files and consoles are of subclasses
                handler.stream = stream  # not `setStream`, which flushes the former one, closed or not
