"""The folder of a run: found fit to be written before anything is computed for it."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

PROBE = 64 * 1024  # bytes; a full disk may have room for a name, and none for what it names


def check_writable(folder: Path) -> None:
    """Write into a folder, or into the nearest one above it that exists; nothing stays behind.

    Raises:
        OSError: what the operating system says, for `folder`: read-only, full, or a file is in its place.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(PROBE))
            file.flush()
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(place)) from error
