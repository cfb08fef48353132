"""One split of a data set, as `vertebra check` looks at it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.pixels import Pixels


class Comparable(Protocol):
    """What has looked at a split, and knows more about it than where its files are."""

    def shared_with(self, other: Any) -> Iterator[Fault]:
        """Yield what stands in both splits, once the files of both have been checked."""


class Content(NamedTuple):
    """What the annotations of a split say.

    Attributes:
        files: the image files.
        told: says what the split holds, once its files have been checked.
        faults: those of the annotations.
        check_files: yields the faults of the files, and calls its argument once for each file.
        things: what the files are, in the plural.
        groups: where each file comes from, if that is told; no two splits may share a group.
        comparable: compares splits by what is in their files; None compares them by paths and bytes.
    """

    files: Sequence[str]
    told: Callable[[], str]
    faults: Sequence[Fault]
    check_files: Callable[[Callable[[], object]], Iterator[Fault]]
    things: str = "images"
    groups: Sequence[str] | None = None
    comparable: Comparable | None = None


class Source(NamedTuple):
    """One split of a data set.

    Attributes:
        title: what it is called in the report.
        split: sources of one split may share files, those of different splits may not.
        file: where it comes from.
        read: reads it; raises ValueError or FileNotFoundError where it cannot be read at all.
    """

    title: str
    split: str
    file: Path
    read: Callable[[], Content]


def pixels_of(options: argparse.Namespace) -> Pixels:
    """Return the rule of reading images that the flags of `vertebra check` give, as `data.pixels` does in `fit`."""
    return Pixels(options.channels, options.white, options.black)


def counted(unit: str, counts: Mapping[str, int]) -> str:
    """Say how many there are of each class; `unit` is what is counted, in the plural."""
    classes = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{sum(counts.values())} {unit}{classes and f': {classes}'}"
