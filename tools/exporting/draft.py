"""Files that appear only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file is moved to `path` at the end, and removed after any exception.

    Raises:
        ValueError: the file cannot be written, such as on a full disk.
    """
    # the suffix stays, which is how readers choose the format
    draft = path.with_name(f".{path.stem}.draft{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())  # before the rename, which may otherwise reach the disk before the content
        os.replace(draft, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(
            f"{path}: could not be written ({reason}); no file is left. Free disk space, or give another path with "
            "--output FILE."
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
