"""Check that a run folder is writable before anything is computed."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

PROBE_BYTES = 64 * 1024  # a full disk may still create an empty file, so some content is written too


def check_writable(folder: Path) -> None:
    """Write a temporary file into a folder, or into its nearest existing parent, and delete it.

    Raises:
        OSError: the folder is read-only or full, or a file is in its place.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(existing))
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()  # Python's buffer would hide ENOSPC until close
    except OSError as error:
        # the same error with the folder's name: tempfile gives the name of its own file, or none
        raise type(error)(error.errno, error.strerror, str(existing)) from error
