"""Tells an error that a user can mend, which wants a sentence, from one in the code, which wants a traceback."""

from __future__ import annotations

from types import TracebackType

_OURS = ("backbones", "tasks", "tools")


def sentence(error: Exception) -> str | None:
    """Return the message of an error that our own code raised to tell the user something, or None of any other."""
    text = str(error)
    if "Original Traceback" in text:  # raised in a loader process; what it said stands at the end
        kind, _, message = text.strip().splitlines()[-1].partition(": ")
        return message if kind.split(".")[0] in _OURS else None
    return text if _raised_in(error.__traceback__) in _OURS else None


def _raised_in(traceback: TracebackType | None) -> str:
    """Return the package whose line raised."""
    name = ""
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return name.split(".")[0]
