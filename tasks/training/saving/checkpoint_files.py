"""Atomic asynchronous checkpoint writer."""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
_PARTIAL = ".part"  # suffix of an unfinished file, which `*.ckpt` does not match
_MAX_PENDING = 2  # copies in host memory: the best and the last checkpoint of an epoch


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning checkpoint plugin with atomic, asynchronous writes.

    The calling thread copies all tensors to host memory; a writer thread saves them to a temporary file in the same
    folder, calls fsync on file and folder, and renames. A process killed at any time leaves the previous checkpoint
    intact. The second-latest `last.ckpt` is kept as `previous.ckpt`.
    """

    def __init__(self) -> None:
        self._writer: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Copy a checkpoint and write it in the background.

        Raises:
            ValueError: an earlier checkpoint could not be written.
        """
        # finished writes are collected here, so that a full disk stops the run at the next checkpoint
        while len(self._pending) >= _MAX_PENDING or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()
        # a single thread keeps the order: `previous.ckpt` is a link to the file that the next write replaces
        self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending.append(self._writer.submit(write_checkpoint, _copy_to_host(checkpoint), Path(path)))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        self.wait()
        return super().load_checkpoint(path, map_location, weights_only)

    def remove_checkpoint(self, path: str | Path) -> None:
        self.wait()
        super().remove_checkpoint(path)

    def wait(self) -> None:
        """Block until all checkpoints are on disk.

        Raises:
            ValueError: a checkpoint could not be written.
        """
        while self._pending:
            self._pending.popleft().result()

    def teardown(self) -> None:
        try:
            self.wait()
        finally:
            if self._writer is not None:
                self._writer.shutdown()
                self._writer = None


def write_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: a kill or power failure leaves either the old or the new file.

    Raises:
        ValueError: the file cannot be written; a previous file is intact.
    """
    part = path.with_name(path.name + _PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())  # before the rename, which may otherwise reach the disk before the content
        if path.name == LAST and path.exists():
            _hard_link(path, path.with_name(PREVIOUS))
        os.replace(part, path)
        _fsync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # PyTorch raises RuntimeError if a write fails inside a zip record
        with suppress(OSError):
            part.unlink(missing_ok=True)
        intact = "; the previous one is intact" if path.exists() else ""
        resume = ", and resume with --ckpt_path last" if path.with_name(LAST).exists() else ""
        raise ValueError(
            f"{path}: the checkpoint could not be written ({error}){intact}. Free disk space, or set a writable folder "
            f"with --trainer.default_root_dir FOLDER{resume}."
        ) from error


def remove_partial_files(folder: Path) -> None:
    """Remove the unfinished checkpoint files of killed runs from a folder."""
    for part in folder.glob(f"*.ckpt{_PARTIAL}"):
        part.unlink(missing_ok=True)


def _hard_link(path: Path, previous: Path) -> None:
    """Hard-link `path` to `previous`, replacing an existing file; `path` exists throughout."""
    link = previous.with_name(previous.name + _PARTIAL)
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # without hard links (FAT, some network file systems) there is no `previous.ckpt`
        return
    os.replace(link, previous)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_to_host(value: Any) -> Any:
    """Return a deep copy of tensors and containers in host memory, which training no longer changes."""
    if isinstance(value, Tensor):
        return value.detach().clone() if value.device.type == "cpu" else value.detach().cpu()
    if isinstance(value, dict):
        copied = copy.copy(value)  # keeps attributes, such as `_metadata` with the versions of a state dict
        copied.update((key, _copy_to_host(item)) for key, item in value.items())
        return copied
    if type(value) in (list, tuple):
        return type(value)(map(_copy_to_host, value))
    return value
