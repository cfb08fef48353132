"""Rows of a CSV that people export from spreadsheets: commas, semicolons or tabs, with or without a byte-order mark."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.files.text_files import read_text

_DELIMITERS = (",", ";", "\t")  # Excel writes semicolons where the comma is the decimal mark


def read_rows(file: Path, needed: Sequence[str], remedy: str) -> list[tuple[int, dict[str, str]]]:
    """Return the line and the cells of every row, without blanks around them.

    Args:
        file: the CSV; its first line names the columns.
        needed: columns that are returned; others do not matter.
        remedy: a sentence for a file without one of them.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing or there twice, a row has too many cells, or the file is no CSV in UTF-8.
    """
    text = read_text(file)
    delimiter, columns = _head(text, needed)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(
            f"{file}: has no column {', '.join(missing)}; its columns are {', '.join(columns)[:200] or 'none'}, "
            f"expected {' and '.join(needed)}. {remedy}"
        )
    twice = [name for name in needed if columns.count(name) > 1]
    if twice:
        raise ValueError(f"{file}: has the column {twice[0]} twice, expected once. Drop or rename one of them.")
    places = {name: columns.index(name) for name in needed}
    rows = []
    # strict: a quote that is never closed would swallow the rows behind it
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        next(reader)
        for cells in reader:
            if any(cells[len(columns) :]):
                raise ValueError(
                    f"{file}: line {reader.line_num} has {len(cells)} cells, the first line {len(columns)}; put quotes "
                    f"around cells that hold a {delimiter!r}."
                )
            if cells:
                row = {name: cells[place].strip() if place < len(cells) else "" for name, place in places.items()}
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise ValueError(
            f"{file}: line {reader.line_num} cannot be read as CSV ({error}); save it as comma-separated UTF-8."
        ) from None
    return rows


def has_columns(file: Path, needed: Sequence[str]) -> bool:
    """Return whether the first line of a CSV names these columns; a file that is no text names none."""
    try:
        return set(needed) <= set(_head(read_text(file), needed)[1])
    except (FileNotFoundError, ValueError):
        return False


def first_path(file: Path) -> str:
    """Return the first cell of the column `path`, or nothing where that cannot be read: whoever reads it says why."""
    try:
        rows = read_rows(file, ["path"], "")
    except (FileNotFoundError, ValueError):
        return ""
    return rows[0][1]["path"] if rows else ""


def path_of(folder: Path, cell: str) -> str:
    r"""Return where the file of a cell lies below a folder; `a\b.jpg`, written on Windows, is `a/b.jpg` elsewhere."""
    plain = os.path.join(folder, cell)
    if "\\" in cell and os.sep == "/" and not os.path.lexists(plain):
        return os.path.join(folder, cell.replace("\\", "/"))
    return plain


def _head(text: str, needed: Sequence[str]) -> tuple[str, list[str]]:
    """Return the delimiter, that which finds the most of the columns, and the columns."""
    line = text.split("\n", 1)[0][:100_000]
    heads = []
    for delimiter in _DELIMITERS:
        try:
            heads.append((delimiter, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]))
        except csv.Error:
            heads.append((delimiter, []))
    return max(heads, key=lambda head: len(set(needed) & set(head[1])))
