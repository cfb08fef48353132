"""Table of images: a CSV with a path and a label in every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.classification.labeled_images import LabeledImages, from_files
from vertebra.tasks.loading.class_tables import read_table
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and path.is_file()  # a folder may be called x.csv


def _find(wanted: Source, group: str | None) -> list[Source]:
    return [Source(wanted.path, files=wanted.files)] if _matches(wanted.path) else []


def _read(source: Source, group: str | None, class_names: Sequence[str] | None) -> tuple[LabeledImages, list[Fault]]:
    files, found = read_table(source.path, source.files, class_names, group)
    return from_files(files), found


TABLE = Format("a .csv with the columns path and label", _matches, _find, _read)
