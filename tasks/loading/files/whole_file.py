"""Files that change as a whole: a kill or power failure leaves the old content or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DRAFT = ".draft"


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file is moved to `path` at the end, and removed after any exception.

    Args:
        path: of the file; its folder is created if missing.
    """
    # the suffix stays, which is how readers choose the format
    draft = path.with_name(f".{path.stem}{_DRAFT}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())  # before the rename, which may otherwise reach the disk before the content
        os.replace(draft, path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def write_whole(path: Path, text: str, errors: str = "strict") -> None:
    """Write text as UTF-8 to a file that changes as a whole; `errors` as of `str.encode`."""
    with draft_of(path) as draft:
        draft.write_text(text, encoding="utf-8", errors=errors)


def remove_drafts(folder: Path) -> None:
    """Remove the unfinished files of killed processes from a folder."""
    for draft in folder.glob(f".*{_DRAFT}.*"):
        draft.unlink(missing_ok=True)
