"""One training run in a folder at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import warnings
from pathlib import Path


class RunLock:
    """Holds a folder for one training run, until the end of a `with` block.

    The lock is POSIX's: it ends with its process, however that ends, and loader processes do not inherit it. The file
    `.lock` stays and means nothing by itself.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *error: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def hold(self, folder: Path) -> None:
        """Hold a folder, which is made.

        Raises:
            ValueError: another process trains in it, or it cannot be written.
        """
        elsewhere = "choose another folder with --trainer.default_root_dir FOLDER."
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ValueError(f"{folder}: no run can be written there ({error.strerror}); {elsewhere}") from error
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                owner = os.read(self._descriptor, 32).decode(errors="replace")
                raise ValueError(
                    f"{folder}: process {owner} trains in this folder; wait until it ends, or {elsewhere}"
                ) from error
            warnings.warn(f"{folder}: its file system has no locks; do not train in it twice at once.", stacklevel=2)
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())
