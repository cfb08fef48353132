"""Atomic lock on a run folder: one training process per folder."""

from __future__ import annotations

import errno
import fcntl
import os
import warnings
from pathlib import Path


class RunLock:
    """Exclusive lock on a run folder, released at the end of a `with` block.

    A POSIX record lock (`fcntl`): the kernel releases it when the process ends in any way, SIGKILL included, and forked
    loader processes do not inherit it. The file `.lock` remains and has no meaning without the lock on it.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *error: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def acquire(self, folder: Path) -> None:
        """Create a folder if necessary and lock it.

        Raises:
            ValueError: another process holds the lock, or the folder is not writable.
        """
        remedy = "choose another folder with --trainer.default_root_dir FOLDER."
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ValueError(f"{folder}: a run cannot be written there ({error.strerror}); {remedy}") from error
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):  # POSIX allows either for a lock that is held
                owner = os.read(self._descriptor, 32).decode(errors="replace")
                raise ValueError(
                    f"{folder}: process {owner} is training in this folder; wait until it ends, or {remedy}"
                ) from error
            # some network file systems: a missing lock is no reason not to train
            warnings.warn(
                f"{folder}: its file system does not support locks; start only one training in it at a time.",
                stacklevel=2,
            )
        # for the message of the next process only; a stale id does no harm
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())
