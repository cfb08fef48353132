"""A fault of a data set, told so that its owner finds it at once."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One thing that is wrong in a data set.

    Attributes:
        kind: a short name to count by, such as `degenerate box`.
        file: the file to mend.
        message: what was seen, where in the file, and what is expected.
    """

    kind: str
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message} [{self.kind}]"
