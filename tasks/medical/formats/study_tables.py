"""A CSV with a path, labels and perhaps a patient in every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.class_names import ordered_classes
from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.csv_rows import first_path, path_of, read_rows
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.medical.formats.listed_rows import Row, studies_of
from vertebra.tasks.medical.formats.scan_folders import holds_scans
from vertebra.tasks.medical.formats.study_options import Columns, StudyOptions
from vertebra.tasks.medical.scans import SCAN_SUFFIXES
from vertebra.tasks.medical.spelling import respelled
from vertebra.tasks.medical.studies import Kind, Studies

MOST_GRADES = 1000  # more are values, such as ages
# what spreadsheets and pandas write into an empty cell; "none" is not among them, since it may be a grade
_EMPTY = {"", "nan", "na", "n/a", "#n/a", "<na>", "null"}
_REMEDY = "give a folder that holds it as an absolute path: data.root, --images of vertebra check"
_FINDING = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": float("nan")}


def read_table(
    file: Path, root: Path, kind: Kind, columns: Columns, class_names: Sequence[str] | None = None
) -> tuple[Studies, list[Fault]]:
    """Read the studies of a CSV.

    Args:
        file: the CSV, UTF-8.
        root: folder that relative paths start from.
        kind: what the labels are.
        columns: their names.
        class_names: the classes of the training split; None takes the labels that are there, in order, numbers by
            size. Grades that are whole numbers are all from the smallest to the largest; others need `class_names`,
            which gives their order. Findings are the columns.

    Returns:
        The studies that can be used, and the faults, see `listed_rows.studies_of`; also labels that are empty, not
        among the classes, or of one class with two spellings. Whole numbers that are written as 1.0 are 1.

    Raises:
        ValueError: a column is missing, the file is no CSV in UTF-8, or the classes are unclear.
    """
    table = read_csv(file, [columns.path, *columns.labels, *filter(None, (columns.patient, columns.study))])
    cells = [(line, [row[name] for name in columns.labels]) for line, row in table]
    if kind == "findings":
        names = _finding_names(columns, class_names)
        labels, found = _findings(file, cells, columns.labels)
    else:
        if len(columns.labels) != 1:
            raise ValueError(
                f"data.columns.labels names {columns.labels}; data.kind={kind} has one column of labels. Name one, or "
                "set data.kind=findings."
            )
        words = [plain_label(word) for _, (word,) in cells if word.lower() not in _EMPTY]
        names = list(class_names or (ordered_classes(words) if kind == "classes" else _grades(file, words)))
        labels, found = _numbers(file, cells, names)
        if class_names is None:
            found += _respelled(file, cells)
    files = [path_of(root, row[columns.path]) for _, row in table]
    outside = find_outside(file, files, [root, file.parent], _REMEDY)
    found += [
        fault._replace(message=f"line {table[i][0]}: {fault.message}")
        for i, fault in outside.items()
        if table[i][1][columns.path]
    ]
    rows = [
        Row(
            line=line,
            path=row[columns.path],
            file=files[i],
            label=label,
            patient=row[columns.patient] if columns.patient else None,
            study=row[columns.study] if columns.study else None,
        )
        for i, ((line, row), label) in enumerate(zip(table, labels, strict=True))
        if label is not None and (i not in outside or not row[columns.path])
    ]
    studies, more = studies_of(file, rows, names, columns.study is not None)
    return studies, [*found, *more]


def read_csv(file: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the line and the cells of every row of a CSV, without blanks around them.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: one of the columns that are needed is missing, or the file is no CSV in UTF-8.
    """
    return read_rows(file, needed, "Name them with data.columns.path, labels, patient and study.")


def plain_label(word: str) -> str:
    """Return the whole number that a label is, though with a fraction of zeros: 1 of 1.0."""
    number, _, fraction = word.partition(".")
    return number if fraction and not fraction.strip("0") and _is_number(number) else word


def _is_number(word: str) -> bool:
    # of few digits: Python refuses to make a number of thousands
    return word.isascii() and word.isdecimal() and len(word) < 20


def _grades(file: Path, words: Sequence[str]) -> list[str]:
    if not all(map(_is_number, words)):
        raise ValueError(
            f"{file}: its grades are {', '.join(sorted(set(words)))}, whose order is unknown; give it: "
            "data.class_names=[none, mild, severe]."
        )
    numbers = [int(word) for word in words]
    if max(numbers, default=0) - min(numbers, default=0) >= MOST_GRADES:
        raise ValueError(
            f"{file}: its grades are from {min(numbers)} to {max(numbers)}; expected fewer than {MOST_GRADES}. Name "
            "the column of grades with data.columns.labels, or divide the values into grades."
        )
    # a grade without a study is one nevertheless: 3 is not next to 1
    return [str(grade) for grade in range(min(numbers, default=0), max(numbers, default=-1) + 1)]


def _finding_names(columns: Columns, class_names: Sequence[str] | None) -> list[str]:
    if class_names is not None and list(class_names) != columns.labels:
        raise ValueError(
            f"data.columns.labels names {', '.join(columns.labels)}, but the findings in use are "
            f"{', '.join(class_names)}. Name the same ones, in this order."
        )
    return columns.labels


def _numbers(
    file: Path, cells: Sequence[tuple[int, list[str]]], names: Sequence[str]
) -> tuple[list[np.ndarray | None], list[Fault]]:
    """Return the label of each row, None where there is none, and the faults of those."""
    label_of = {name: np.array(label, dtype=np.int64) for label, name in enumerate(names)}
    found = []
    labels = [label_of.get(word, label_of.get(plain_label(word))) for _, (word,) in cells]
    for (line, (word,)), label in zip(cells, labels, strict=True):
        if label is None and word.lower() in _EMPTY:
            empty = f"is {word!r}, which means that there is none" if word else "is empty"
            message = f"line {line}: the label {empty}; give one, or remove the row."
            found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(file), message))
        elif label is None:
            message = f"line {line}: label {word!r} is not among the classes: {', '.join(names)}."
            found.append(Fault(faults.UNKNOWN_CATEGORY, str(file), message, word))
    return labels, found


def _respelled(file: Path, cells: Sequence[tuple[int, list[str]]]) -> list[Fault]:
    """Name the labels that may be one class: 01 and 1."""
    words = [(line, plain_label(word)) for line, (word,) in cells if word]
    return [
        Fault(
            faults.AMBIGUOUS_ID,
            str(file),
            f"line {line}: label {word!r} is {other!r} in line {before}, spelled differently; spell one class alike.",
        )
        for line, word, before, other in respelled(words)
    ]


def _findings(
    file: Path, cells: Sequence[tuple[int, list[str]]], columns: Sequence[str]
) -> tuple[list[np.ndarray | None], list[Fault]]:
    labels: list[np.ndarray | None] = []
    found = []
    for line, words in cells:
        odd = [(name, word) for name, word in zip(columns, words, strict=True) if word not in _FINDING]
        for name, word in odd:
            message = f"line {line}: {name} is {word!r}; expected 1, 0, or nothing where it is unknown."
            found.append(Fault(faults.UNKNOWN_CATEGORY, str(file), message))
        labels.append(None if odd else np.array([_FINDING[word] for word in words], dtype=np.float32))
    return labels, found


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _find(wanted: Source, options: StudyOptions) -> list[Source]:
    is_list = wanted.path.is_file() and _matches(wanted.path) and (options.are_columns_given or _lists_scans(wanted))
    return [Source(wanted.path, files=wanted.files)] if is_list else []


def _lists_scans(wanted: Source) -> bool:
    """Return whether the first path of a CSV is that of a scan or of a folder of them."""
    first = first_path(wanted.path)
    path = (wanted.files or wanted.path.parent) / first
    return first.lower().endswith(SCAN_SUFFIXES) or (bool(first) and path.is_dir() and holds_scans(path))


def _read(source: Source, options: StudyOptions, class_names: Sequence[str] | None) -> tuple[Studies, list[Fault]]:
    kind = options.kind or ("findings" if len(options.columns.labels) > 1 else "classes")
    return read_table(source.path, source.files or source.path.parent, kind, options.columns, class_names)


TABLE = Format("a .csv with a row for each image", _matches, _find, _read)
