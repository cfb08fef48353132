"""Ids that differ in their spelling only: a spreadsheet makes 7 of 007, and 7.0 where a cell of the column is empty."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_NUMBERED = re.compile(r"(\D*)0*(\d+)")  # 007, sub-01
_DECIMAL = re.compile(r"0*(\d+)\.0+")  # 7.0


def plain(word: str) -> str:
    """Return an id without leading zeros of its number, and a number without a fraction of zeros.

    What has several numbers, such as a UID or a path, stays as it is.
    """
    decimal = _DECIMAL.fullmatch(word)
    if decimal is not None:
        return decimal.group(1)
    numbered = _NUMBERED.fullmatch(word)
    return word if numbered is None else "".join(numbered.groups())


def respelled(words: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str, int, str]]:
    """Find the ids that were there before with another spelling; each spelling is named once.

    Args:
        words: lines and ids.

    Yields:
        Line and id, and those of the first spelling.
    """
    first: dict[str, tuple[int, str]] = {}
    known: set[str] = set()
    for line, word in words:
        if word not in known:
            known.add(word)
            before = first.setdefault(plain(word), (line, word))
            if before[1] != word:
                yield line, word, *before
