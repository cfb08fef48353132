"""Training from Python: `vertebra fit DATA` as a function that returns the trained run."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr
from typing import Any, TextIO

from vertebra.tools import fit as command
from vertebra.tools.train import VertebraCLI
from vertebra.tools.trained.run import Run, load


def fit(data: str | os.PathLike[str], **flags: Any) -> Run:
    """Train on a data set as `vertebra fit DATA` does, and load the result.

    Task, splits, classes and recipe come from the data set. It trains on one device.

    Args:
        data: a folder, an annotation file, or a list of them.
        flags: those of `vertebra fit`: `backbone`, `epochs`, `batch`, `size`, `lr`, `weights`, `device`, `name`,
            `seed`, `task`; a long flag with two underscores for each dot, such as
            `model__network__detections__score_threshold=0.3`.

    Returns:
        The run, with the weights of its best checkpoint.

    Raises:
        ValueError: the data set, a flag or the training is refused; the message is that of the command.
    """
    paths = [data] if isinstance(data, str | os.PathLike) else list(data)
    # several devices are one process each, which would run the calling script or notebook again
    flags = {"trainer__devices": 1, **flags}
    words = [word for name, value in flags.items() for word in (f"--{name.replace('__', '.')}", _word(value))]
    with redirect_stderr(_Heard(sys.stderr)) as heard:
        code = command.main(["fit", *map(str, paths), *words])
    if code:
        raise ValueError(heard.message or f"the training ended with exit code {code}; its output says why.")
    return load(VertebraCLI.folder)


def _word(value: Any) -> str:
    """Return a value as YAML reads it: a list as `[2, 3]`, and None as null."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


class _Heard:
    """A stream that passes text on and keeps the message of a failed command.

    Args:
        stream: to pass text to.

    Attributes:
        message: of the last line that begins with `vertebra:`, with what follows it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.message = ""

    def write(self, text: str) -> int:
        if text.startswith("vertebra: "):
            self.message = text.removeprefix("vertebra: ")
        elif self.message:
            self.message += text.rstrip("\n")
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
