"""Formats of data sets: one row for each in a task's table, chosen by the path of a source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from vertebra.tasks.loading.files.faults import Fault

R = TypeVar("R")


@dataclass(frozen=True)
class Source:
    """One split of a data set.

    Attributes:
        path: the annotation file, or the folder of the split.
        split: name of the split, where `path` holds several.
        files: folder that file names in `path` start from, where `path` alone does not say it.
    """

    path: Path
    split: str = ""
    files: Path | None = None

    @property
    def title(self) -> str:
        """Name of the split in reports."""
        return f"{self.path} {self.split}" if self.split else str(self.path)


@dataclass(frozen=True)
class Format(Generic[R]):
    """A format of a task.

    The options are the task's own: whatever its readers need besides the source and the classes.

    Attributes:
        name: in the list of what was expected, such as `COCO's *.json`.
        matches: whether a path is a source of this format, by its name or by a glance at its content.
        find: lists the splits of this format at a path that a user gives, which may be a folder around them. The
            argument has the requested split and folder of files, if any.
        read: returns the records of a split and its faults. Class names are those of the training split, which then
            number the labels; None numbers the classes of this split.
    """

    name: str
    matches: Callable[[Path], bool]
    find: Callable[[Source, Any], Sequence[Source]]
    read: Callable[[Source, Any, Sequence[str] | None], tuple[R, list[Fault]]]


def read_source(
    formats: Sequence[Format[R]], source: Source, options: Any, class_names: Sequence[str] | None = None
) -> tuple[R, list[Fault]]:
    """Read a split by the first format that matches its path.

    Raises:
        FileNotFoundError: the path, or a file that belongs to it, does not exist.
        ValueError: the path is of no format, or cannot be read as the one it is of.
    """
    # the order of the table decides between two that match, so a special format is listed before a general one
    found = next((each for each in formats if each.matches(source.path)), None)
    if found is None:
        raise _unknown(formats, source.path)
    return found.read(source, options, class_names)


def find_sources(formats: Sequence[Format[R]], wanted: Source, options: Any) -> list[Source]:
    """List the splits at a path, those of the first format that has any there."""
    # not all formats: images and masks would be found a second time as folders of classes
    return next((list(found) for each in formats if (found := each.find(wanted, options))), [])


def expected(formats: Sequence[Format[Any]]) -> str:
    """Return the names of formats as a list in words."""
    *names, last = [each.name for each in formats]
    return f"{', '.join(names)} or {last}" if names else last


# names of the folders of splits, the most common first
SPLIT_FOLDERS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))


def splits_in(folder: Path) -> list[Path]:
    """List the folders of the training, validation and test split of a folder, as far as it has them."""
    found = ([folder / name for name in names if (folder / name).is_dir()] for names in SPLIT_FOLDERS)
    return [folders[0] for folders in found if folders]


def _unknown(formats: Sequence[Format[Any]], path: Path) -> Exception:
    # generated, so that a new row is in every message
    remedy = f"expected {expected(formats)}. Give one of those."
    if not path.exists():
        return FileNotFoundError(f"{path} does not exist; {remedy}")
    kind = "folder" if path.is_dir() else "file"
    return ValueError(f"{path}: is a {kind} of none of the known formats; {remedy}")
