"""CSV reader for spreadsheet exports: comma, semicolon or tab, with or without a byte-order mark."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.files.text_files import read_text

_DELIMITERS = (",", ";", "\t")  # Excel writes semicolons in locales with a decimal comma


def read_rows(file: Path, needed: Sequence[str], remedy: str) -> list[tuple[int, dict[str, str]]]:
    """Return the line number and the stripped cells of every row.

    Args:
        file: the CSV; its first line names the columns.
        needed: columns to return; others are ignored.
        remedy: sentence for the error about a missing column.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing or duplicated, a row has too many cells, or the file is not UTF-8 CSV.
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
    # strict: otherwise an unclosed quote swallows the following rows
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


def column_names(file: Path) -> list[str]:
    """Return the first line of a CSV with a column `path`; nothing of another file."""
    try:
        names = _head(read_text(file), ["path"])[1]
    except (FileNotFoundError, ValueError):
        return []
    return names if "path" in names else []


def has_columns(file: Path, needed: Sequence[str]) -> bool:
    """Return whether the first line of a CSV has these columns; False for a file that is not text."""
    try:
        return set(needed) <= set(_head(read_text(file), needed)[1])
    except (FileNotFoundError, ValueError):
        return False


def first_path(file: Path) -> str:
    """Return the first cell of the column `path`, or "" for a file whose reader will report the fault."""
    try:
        rows = read_rows(file, ["path"], "")
    except (FileNotFoundError, ValueError):
        return ""
    return rows[0][1]["path"] if rows else ""


def path_of(folder: Path, cell: str) -> str:
    r"""Return the path of a cell below a folder; Windows' `a\b.jpg` is `a/b.jpg` on other systems."""
    plain = os.path.join(folder, cell)
    if "\\" in cell and os.sep == "/" and not os.path.lexists(plain):
        return os.path.join(folder, cell.replace("\\", "/"))
    return plain


def _head(text: str, needed: Sequence[str]) -> tuple[str, list[str]]:
    """Return the delimiter that finds most of the needed columns, and the columns."""
    # a file that is no CSV may be a single line of any length
    line = text.split("\n", 1)[0][:100_000]
    heads = []
    for delimiter in _DELIMITERS:
        try:
            heads.append((delimiter, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]))
        except csv.Error:
            heads.append((delimiter, []))
    return max(heads, key=lambda head: len(set(needed) & set(head[1])))
