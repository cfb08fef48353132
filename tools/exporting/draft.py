"""Files of exports, which appear only when they are complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vertebra.tasks.loading.files import whole_file


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Yield a path to write to, see `whole_file.draft_of`.

    Raises:
        ValueError: the file cannot be written, such as on a full disk.
    """
    try:
        with whole_file.draft_of(path) as draft:
            yield draft
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(
            f"{path}: could not be written ({reason}); no file is left. Free disk space, or give another path with "
            "--output FILE."
        ) from error
