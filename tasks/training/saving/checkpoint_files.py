"""Atomic checkpoint files, written by a thread of their own while the training goes on."""

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
_PART = ".part"  # of a file that is being written, which no pattern for checkpoints matches
_MOST_PENDING = 2  # copies in host memory: the best and the last of one epoch


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint plugin, with files that are either complete or absent.

    The calling thread copies the tensors to host memory; another thread writes them beside the target, flushes file and
    folder to the disk and renames. A process that is killed at any moment leaves the checkpoint that was there before.
    The last-but-one `last.ckpt` is kept as `previous.ckpt`.
    """

    def __init__(self) -> None:
        self._writer: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Take a copy of a checkpoint and write it in the background.

        Raises:
            ValueError: this or an earlier checkpoint could not be written.
        """
        while len(self._pending) >= _MOST_PENDING or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()
        self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending.append(self._writer.submit(write_checkpoint, _copied(checkpoint), Path(path)))

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
        """Return when every checkpoint is on the disk.

        Raises:
            ValueError: one could not be written.
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
    """Write a checkpoint so that a kill or a power cut leaves either the old file or the new one.

    Raises:
        ValueError: the file system refused it; the file that was there before is intact.
    """
    part = path.with_name(path.name + _PART)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        if path.name == LAST and path.exists():
            _keep(path, path.with_name(PREVIOUS))
        os.replace(part, path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:  # a failed write in the middle of a zip record is a RuntimeError
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise ValueError(
            f"{path}: the checkpoint could not be written ({error}); the one before it is intact. Free space, or "
            "choose a folder that can be written with --trainer.default_root_dir FOLDER, and go on with "
            "--ckpt_path last."
        ) from error


def remove_parts(folder: Path) -> None:
    """Remove what killed runs left half written in a folder of checkpoints."""
    for part in folder.glob(f"*.ckpt{_PART}"):
        part.unlink(missing_ok=True)


def _keep(path: Path, previous: Path) -> None:
    """Give a file a second name, replacing another file; at no time is it without its first name."""
    link = previous.with_name(previous.name + _PART)
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links keeps no previous checkpoint
        return
    os.replace(link, previous)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copied(value: Any) -> Any:
    """Return a checkpoint whose tensors and containers are copies in host memory."""
    if isinstance(value, Tensor):
        return value.detach().clone() if value.device.type == "cpu" else value.detach().cpu()
    if isinstance(value, dict):
        copied = copy.copy(value)  # with what hangs on it, such as a state dict's versions
        copied.update((key, _copied(item)) for key, item in value.items())
        return copied
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return value
