"""A CSV with a path and a label in every row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.class_names import class_faults, ordered_classes
from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.csv_rows import path_of, read_rows
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.labeled_files import LabeledFiles

COLUMNS = ("path", "label")
REMEDY = "give a folder that holds it as an absolute path: data.root, --images of vertebra check"


def read_table(
    file: Path, root: Path | None = None, class_names: Sequence[str] | None = None, group: str | None = None
) -> tuple[LabeledFiles, list[Fault]]:
    """Read the files of a CSV with the columns `path` and `label`; other columns do not matter.

    Args:
        file: the CSV, see `csv_rows.read_rows`.
        root: folder that relative paths start from; None for the CSV's own.
        class_names: classes of the training split; None takes the labels that are there, in order, numbers by size.
        group: column with the source of each file, or None.

    Returns:
        The rows that can be used, and the faults: rows without a path or label, paths that leave the folder, labels of
        unknown classes, paths that come twice, with the same label or with another, and faults of the classes.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing, or the file is no CSV in UTF-8.
    """
    needed = [*COLUMNS, *([group] if group else [])]
    rows = read_rows(file, needed, "Name them in the first line.")
    found: list[Fault] = []
    if class_names is None:
        class_names = ordered_classes(row["label"] for _, row in rows if row["label"])
        found += class_faults(file, class_names)
    label_of = {name: label for label, name in enumerate(class_names)}
    folder = file.parent if root is None else root
    # normalized, so that a.png and ./x/../a.png are one file
    paths = [os.path.normpath(path_of(folder, row["path"])) for _, row in rows]
    outside = find_outside(file, paths, [folder, file.parent], REMEDY)
    # path -> line, label and group; of paths that come twice the first row is kept
    kept: dict[str, tuple[int, str, str]] = {}
    for i, (path, (line, row)) in enumerate(zip(paths, rows, strict=True)):
        label = row["label"]
        if not row["path"] or not label:
            message = f"line {line}: the {'label' if row['path'] else 'path'} is empty; give both, or remove the row."
            found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(file), message))
        elif i in outside:
            found.append(outside[i]._replace(message=f"line {line}: {outside[i].message}"))
        elif label not in label_of:
            message = f"line {line}: label {label!r} is not among the classes: {', '.join(class_names)}."
            found.append(Fault(faults.UNKNOWN_CATEGORY, str(file), message, label))
        elif path in kept:
            first, known, _ = kept[path]
            kind = faults.DUPLICATE_FILE if known == label else faults.CONFLICTING_LABELS
            message = f"line {line}: {row['path']!r} is also in line {first}, as {known!r}; keep one of them."
            found.append(Fault(kind, str(file), message))
        else:
            kept[path] = line, label, row[group] if group else ""
    names = np.array(list(kept), dtype=str)
    labels = np.array([label_of[label] for _, label, _ in kept.values()], dtype=np.int64)
    groups = np.array([where for *_, where in kept.values()], dtype=str) if group else None
    return LabeledFiles(tuple(class_names), names, labels, groups), found
