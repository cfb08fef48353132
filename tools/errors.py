"""Tells an error that a user can mend, which wants a sentence, from one in the code, which wants a traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from types import TracebackType

_OURS = "vertebra"
_RESTORING = "lightning.pytorch.trainer.connectors.checkpoint_connector"

_ELSEWHERE = "write elsewhere with --trainer.default_root_dir FOLDER (predict: --output FOLDER)"
_IN_THE_WAY = "a folder is needed there; move the file, or give another folder"
# what the machine refuses, whoever asked; a missing file is not among them, since a library's own may be missing
_REMEDIES = {
    errno.EACCES: "check who may read and write it",
    errno.EPERM: "check who may read and write it",
    errno.EROFS: _ELSEWHERE,
    errno.ENOSPC: f"free some space, or {_ELSEWHERE}",
    errno.EDQUOT: f"free some space, or {_ELSEWHERE}",
    errno.EFBIG: _ELSEWHERE,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: "a file is needed there; move the folder, or give another path",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EIO: "check the disk",
}


def sentence(error: BaseException, folder: str = "") -> str | None:
    """Return the message of an error that our own code raised to tell the user something, or None of any other.

    An error of ours may be the cause of another that a library raised on its way. What the operating system refuses,
    such as to write on a full disk, is a sentence wherever it is raised.

    Args:
        error: that was raised.
        folder: that is written into, to be named where the system names no file.
    """
    restored = _restored_from(error.__traceback__)
    for found in _chain(error):
        text = str(found)
        if "Original Traceback" in text:  # raised in a loader process; what it said stands at the end
            kind, _, message = text.strip().splitlines()[-1].partition(": ")
            if kind.split(".")[0] == _OURS:
                return message
        elif isinstance(found, ValueError | FileNotFoundError) and _raised_in(found.__traceback__) == _OURS:
            return f"{restored}: {text}" if restored and restored not in text else text
        elif isinstance(found, OSError) and found.errno in _REMEDIES:
            named = found.filename2 or found.filename or folder  # of a copy, where it goes
            place = f"{named}: " if named else ""
            return f"{place}{found.strerror}; {_REMEDIES[found.errno]}."
        elif isinstance(found, RuntimeError) and "PytorchStreamWriter failed" in text:
            return f"{folder}: a checkpoint could not be written; {_REMEDIES[errno.ENOSPC]}."
    if restored:
        return (
            f"{restored}: cannot be restored into this run ({type(error).__name__}: {str(error)[:300]}); it is "
            "damaged, or of a run with other settings. Start a new training from its weights with "
            "--model.network.weights."
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__


def _restored_from(traceback: TracebackType | None) -> str | None:
    """Return the checkpoint that Lightning was restoring when an error was raised, None where it was not."""
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == _RESTORING:
            return str(getattr(traceback.tb_frame.f_locals.get("self"), "_ckpt_path", None) or "the checkpoint")
        traceback = traceback.tb_next
    return None


def _raised_in(traceback: TracebackType | None) -> str:
    """Return the package whose line raised."""
    name = ""
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return name.split(".")[0]
