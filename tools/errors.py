"""Classification of exceptions: user errors get one line, bugs a traceback."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable, Iterator
from types import TracebackType

_OWN_PACKAGE = "vertebra"
# the module whose frames are on the stack while Lightning loads a checkpoint
_RESTORING = "lightning.pytorch.trainer.connectors.checkpoint_connector"

_DOWNLOAD = "could not be downloaded"  # of published weights, in messages of the backbones
_WITHOUT_NETWORK = "As flags: --weights FILE, or --weights none for random ones."
_ELSEWHERE = "write elsewhere with --trainer.default_root_dir FOLDER (predict: --output FOLDER)"
# a process of torch's DataLoader, which the kernel kills where memory is short
_LOST_WORKER = re.compile(r"DataLoader worker \(pid[^)]*\) (is killed by signal: \w+|exited unexpectedly)")
_LOST_WORKER_REMEDY = (
    "most often memory was short: use fewer with --workers N, or a smaller --batch, and continue with --ckpt_path last."
)
_NOT_A_FOLDER = "a folder is needed there; move the file, or give another folder"
# Environment errors, which are never bugs, wherever they are raised. ENOENT is missing on purpose: a file that a
# library fails to find may be the library's own.
_REMEDIES = {
    errno.EACCES: "check who may read and write it",
    errno.EPERM: "check who may read and write it",
    errno.EROFS: _ELSEWHERE,
    errno.ENOSPC: f"free some space, or {_ELSEWHERE}",
    errno.EDQUOT: f"free some space, or {_ELSEWHERE}",
    errno.EFBIG: _ELSEWHERE,
    errno.EEXIST: _NOT_A_FOLDER,
    errno.ENOTDIR: _NOT_A_FOLDER,
    errno.EISDIR: "a file is needed there; move the folder, or give another path",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EIO: "check the disk",
}


def exit_code(command: Callable[[], None]) -> int:
    """Run a command and return its exit code, 1 after a user error, whose line is printed."""
    try:
        command()
    except Exception as error:
        message = user_message(error)
        if message is None:  # a bug, whose traceback helps
            raise
        print(f"vertebra: {message}", file=sys.stderr)
        return 1
    return 0


def user_message(error: BaseException, folder: str = "") -> str | None:
    """Return the one-line message of a user error, or None for a bug.

    User errors are `ValueError` and `FileNotFoundError` raised by this package, also as the cause of an exception that
    a library wrapped around them, errors of the operating system such as a full disk, wherever they were raised, and
    what a network of timm asserts of the size of its input.

    Args:
        error: the exception.
        folder: output folder, named where the operating system gives no file name.
    """
    checkpoint = _restored_checkpoint(error.__traceback__)
    for cause in _chain(error):
        text = str(cause)
        if "Original Traceback" in text:  # re-raised from a loader process: only the text of its traceback is left
            kind, _, message = text.strip().splitlines()[-1].partition(": ")
            if kind.split(".")[0] == _OWN_PACKAGE:
                return message
        elif isinstance(cause, ValueError | FileNotFoundError) and _raised_in(cause.__traceback__) == _OWN_PACKAGE:
            text = f"{text} {_WITHOUT_NETWORK}" if _DOWNLOAD in text else text
            return f"{checkpoint}: {text}" if checkpoint and checkpoint not in text else text
        elif isinstance(cause, OSError) and cause.errno in _REMEDIES:
            file = cause.filename2 or cause.filename or folder  # filename2 is the destination of a copy
            prefix = f"{file}: " if file else ""
            return f"{prefix}{cause.strerror}; {_REMEDIES[cause.errno]}."
        elif found := _LOST_WORKER.search(text):
            return f"a process that loads data {found[1]}; {_LOST_WORKER_REMEDY}"
        elif isinstance(cause, AssertionError) and "timm" in _packages(cause.__traceback__):
            return f"{text.rstrip('.')}; give another --size, or another --backbone."
        # torch's writer drops the errno; a full disk is by far the most frequent cause
        elif isinstance(cause, RuntimeError) and "PytorchStreamWriter failed" in text:
            return f"{folder}: a checkpoint could not be written; {_REMEDIES[errno.ENOSPC]}."
    if checkpoint:
        # Lightning raises a bare KeyError or AttributeError for a checkpoint that lacks a part
        return (
            f"{checkpoint}: cannot be restored into this run ({type(error).__name__}: {str(error)[:300]}); it is "
            "damaged, or was written with other settings. Start a new training from its weights with "
            "--model.network.weights."
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__


def _restored_checkpoint(traceback: TracebackType | None) -> str | None:
    """Return the path of the checkpoint that Lightning was restoring, None if it was not restoring any."""
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == _RESTORING:
            return str(getattr(traceback.tb_frame.f_locals.get("self"), "_ckpt_path", None) or "the checkpoint")
        traceback = traceback.tb_next
    return None


def _raised_in(traceback: TracebackType | None) -> str:
    """Return the top-level package of the innermost frame."""
    return _packages(traceback)[-1]


def _packages(traceback: TracebackType | None) -> list[str]:
    """Return the top-level package of each frame, the outermost first; one without a name if there are no frames."""
    names = []
    while traceback is not None:
        names.append(str(traceback.tb_frame.f_globals.get("__name__", "")).split(".")[0])
        traceback = traceback.tb_next
    return names or [""]
