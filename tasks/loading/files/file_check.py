"""Look at the files of a data set, many at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile


def run_checks(
    look: Callable[..., Fault | None], *columns: Iterable[Any], advance: Callable[[], object]
) -> Iterator[Fault]:
    """Call `look` in threads with a value of each column, and yield the faults that it returns, in order.

    Args:
        look: looks at one file.
        columns: its arguments, such as paths and sizes.
        advance: called once for each file, from the caller's thread: for a progress bar.
    """
    with ThreadPoolExecutor() as pool:
        for fault in pool.map(look, *columns):
            advance()
            if fault is not None:
                yield fault


def unreadable(file: str, error: UnreadableFile) -> Fault:
    """Return the fault of a file that is missing or broken."""
    kind = faults.UNREADABLE_IMAGE if os.path.exists(file) else faults.MISSING_FILE
    return Fault(kind, file, str(error).removeprefix(f"{file}: "))
