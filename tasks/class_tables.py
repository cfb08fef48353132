"""A CSV with a path and a label in every row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks import faults
from tasks.faults import Fault
from tasks.labelled_files import LabelledFiles

COLUMNS = ("path", "label")


def read_table(
    file: Path, root: Path | None = None, class_names: Sequence[str] | None = None, group: str | None = None
) -> tuple[LabelledFiles, list[Fault]]:
    """Read the files of a CSV with the columns `path` and `label`; other columns do not matter.

    Args:
        file: the CSV, UTF-8.
        root: folder that relative paths start from; None for the CSV's own.
        class_names: classes of the training split; None takes the labels that are there, in order, numbers by size.
        group: column that tells where a file comes from, if there is one.

    Returns:
        The rows that can be used, and the faults: rows without a path or label, labels of unknown classes, paths that
        come twice, with the same label or with another.

    Raises:
        ValueError: a column is missing, or the file is no CSV in UTF-8.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # Excel puts a byte-order mark in front
            reader = csv.DictReader(stream)
            columns = list(reader.fieldnames or ())
            needed = [*COLUMNS, *([group] if group else [])]
            rows = [(reader.line_num, row) for row in reader] if set(needed) <= set(columns) else None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file}: cannot be read as CSV ({error}); save it as comma-separated UTF-8.") from error
    if rows is None:
        expected = " and ".join(needed)
        raise ValueError(f"{file}: its columns are {columns}; expected {expected}. Name them in the first line.")

    entries = [(line, (row["path"] or "").strip(), (row["label"] or "").strip()) for line, row in rows]
    told = []
    if class_names is None:
        class_names = _ordered({label for _, _, label in entries if label})
    label_of = {name: label for label, name in enumerate(class_names)}
    seen: dict[str, tuple[int, str]] = {}
    for line, path, label in entries:
        if not path or not label:
            message = f"line {line}: the {'label' if path else 'path'} is empty; give both, or remove the row."
            told.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(file), message))
        elif label not in label_of:
            message = f"line {line}: label {label!r} is not among the classes: {', '.join(class_names)}."
            told.append(Fault(faults.UNKNOWN_CATEGORY, str(file), message))
        elif path in seen:
            first, known = seen[path]
            kind = faults.DUPLICATE_FILE if known == label else faults.CONFLICTING_LABELS
            message = f"line {line}: {path!r} stands in line {first}, too, as {known!r}; keep one of them."
            told.append(Fault(kind, str(file), message))
        else:
            seen[path] = line, label
    folder = file.parent if root is None else root
    names = np.array([str(folder / path) for path in seen], dtype=str)
    labels = np.array([label_of[label] for _, label in seen.values()], dtype=np.int64)
    groups = None
    if group:
        of_path = {(row["path"] or "").strip(): row[group] or "" for _, row in rows}
        groups = np.array([of_path[path] for path in seen], dtype=str)
    return LabelledFiles(tuple(class_names), names, labels, groups), told


def _ordered(labels: set[str]) -> list[str]:
    """Sort labels as text, or by size where all are whole numbers: 2 comes before 10."""
    return sorted(labels, key=int) if all(label.isdecimal() for label in labels) else sorted(labels)
