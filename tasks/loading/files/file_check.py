"""Parallel checks of the files of a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile


def run_checks(
    check: Callable[..., Fault | None], *columns: Iterable[Any], advance: Callable[[], object]
) -> Iterator[Fault]:
    """Call `check` in threads with one value per column, and yield the faults in order.

    Args:
        check: checks one file.
        columns: its arguments, such as paths and sizes.
        advance: called once per file in the caller's thread, for a progress bar.
    """
    with ThreadPoolExecutor() as pool:
        for fault in pool.map(check, *columns):
            advance()
            if fault is not None:
                yield fault


def unreadable(file: str, error: UnreadableFile) -> Fault:
    """Return the fault of a file that is missing or broken."""
    kind = faults.UNREADABLE_IMAGE if os.path.exists(file) else faults.MISSING_FILE
    return Fault(kind, file, str(error).removeprefix(f"{file}: "))
