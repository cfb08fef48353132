"""One split of a data set, as `vertebra check` reports it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vertebra.tasks.loading.files.csv_rows import has_columns, read_rows
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.formats import SPLIT_FOLDERS, Format, Source, find_sources
from vertebra.tools.checks.split_names import is_split_name, split_name

_SPLIT_NAMES = frozenset(name for names in SPLIT_FOLDERS for name in names)


class Comparable(Protocol):
    """A check of a split that compares more than paths and bytes of files."""

    def shared_with(self, other: Any) -> Iterator[Fault]:
        """Yield what is in both splits, once the files of both have been checked."""


class Content(NamedTuple):
    """Content of a split by its annotations.

    Attributes:
        files: the image files.
        summary: describes the split in a line, once its files have been checked.
        faults: those of the annotations.
        check_files: yields the faults of the files, and calls its argument once for each file.
        things: what the files are, in the plural.
        groups: where each file comes from, if that is known; no two splits may share a group.
        comparable: compares splits by the content of their files; None compares them by paths and bytes.
        num_samples: where not each is a file.
    """

    files: Sequence[str]
    summary: Callable[[], str]
    faults: Sequence[Fault]
    check_files: Callable[[Callable[[], object]], Iterator[Fault]]
    things: str = "images"
    groups: Sequence[str] | None = None
    comparable: Comparable | None = None
    num_samples: int | None = None


class Split(NamedTuple):
    """One split of a data set.

    Attributes:
        source: where it is read from.
        scope: splits of one scope may share files, those of different scopes may not.
        read: reads it; raises ValueError or FileNotFoundError where it cannot be read at all.
    """

    source: Source
    scope: str
    read: Callable[[], Content]


def sources_at(formats: Sequence[Format[Any]], path: Path, flags: argparse.Namespace, options: Any) -> list[Source]:
    """List the splits of a task's formats at a path that the user gives.

    In a folder, tables such as `train.csv` and `val.csv` define the splits, not the folders that their files are in.

    Raises:
        UnreadableFile: one of these tables cannot be read.
    """

    def find(at: Path) -> list[Source]:
        return find_sources(formats, Source(at, flags.split or "", flags.images), options)

    found = {table: find(table) for table in _split_tables(path)}
    if not any(found.values()):
        return find(path)
    for table in (table for table, sources in found.items() if not sources):
        _refuse_unreadable(table)  # passed over, a broken train.csv would leave val.csv to train on
    return [source for sources in found.values() for source in sources]


def _refuse_unreadable(table: Path) -> None:
    try:
        read_rows(table, ["path"], "")
    except ValueError as error:
        raise UnreadableFile(str(error)) from None


def _split_tables(folder: Path) -> list[Path]:
    """List the tables of a folder that are its splits.

    Raises:
        UnreadableFile: a table beside them, with the name of a split, is not text.
    """
    if not folder.is_dir():
        return []
    files = sorted(file for file in folder.glob("*.csv") if file.is_file() and is_split_name(file.stem))
    tables = [file for file in files if has_columns(file, ["path"])]
    for file in files:
        if tables and file not in tables and file.stem.lower() in _SPLIT_NAMES:
            read_text(file)
    # beside train.csv and val.csv, a val_small.csv is a part of one
    return [file for file in tables if file.stem.lower() in _SPLIT_NAMES] or tables


def is_training(source: Source) -> bool:
    """Return whether a split is called train: by its name, or by that of its file or of the folder around it."""
    return split_name(source) == "train"


def pixels_of(flags: argparse.Namespace) -> Pixels:
    """Return the rule of reading images that the flags of `vertebra check` give, as `data.pixels` does in `fit`."""
    return Pixels(flags.channels, flags.white, flags.black)


def counted(unit: str, counts: Mapping[str, int], more: str = "") -> str:
    """Return how many there are of each class; `unit` is what is counted, in the plural, `more` follows."""
    classes = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{sum(counts.values())} {unit}{classes and f': {classes}'}{more}"
