"""Readers of untrusted text and binary files."""

from __future__ import annotations

import os
import stat

from vertebra.tasks.loading.files.faults import UnreadableFile

LONGEST = 1 << 33  # bytes; the largest public annotation files have two billion
_OTHER_UNICODE = (b"\xff\xfe", b"\xfe\xff")


def read_bytes(path: str | os.PathLike[str], longest: int = LONGEST) -> bytes:
    """Read a regular file; devices and pipes, which may be endless, are refused.

    Raises:
        FileNotFoundError: it does not exist.
        UnreadableFile: it is not a regular file, is longer than `longest` bytes, or access is denied.
    """
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            kind = "a folder" if stat.S_ISDIR(state.st_mode) else "a device or a pipe"
            raise UnreadableFile(f"{path}: is {kind}; expected a file. Give another path, or remove it.")
        if state.st_size > longest:
            raise UnreadableFile(
                f"{path}: has {state.st_size} bytes; expected at most {longest}. Give another file, or split it."
            )
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist. Correct the path.") from None
    except OSError as error:  # no permission, a name that is too long
        raise UnreadableFile(f"{os.fspath(path):.200}: {error.strerror}. Give a file that can be read.") from None
    except ValueError as error:
        if isinstance(error, UnreadableFile):
            raise
        raise UnreadableFile(f"{os.fspath(path)!r:.200}: is not a path ({error}). Correct it.") from None


def read_text(path: str | os.PathLike[str], longest: int = LONGEST) -> str:
    """Read a text file in UTF-8, with or without a byte-order mark.

    Raises:
        FileNotFoundError: it does not exist.
        UnreadableFile: as in `read_bytes`, or it is not text in UTF-8.
    """
    content = read_bytes(path, longest)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        content_kind = (
            "text in UTF-16" if content.startswith(_OTHER_UNICODE) else f"not text, it begins with {content[:12]!r}"
        )
        raise UnreadableFile(
            f"{path}: is {content_kind}; expected text in UTF-8. Save the file as UTF-8, or replace it."
        )
    return text
