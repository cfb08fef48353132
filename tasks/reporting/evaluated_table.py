"""CSV of evaluated samples with true labels and all probabilities, the input of later statistics."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vertebra.tasks.loading.files.whole_file import draft_of

_PROB, _LABEL = "prob_", "label_"


class EvaluatedTable(NamedTuple):
    """Samples of one split with true labels and predicted probabilities.

    Attributes:
        class_names: the K classes.
        names: (N,) str, unique name of each sample.
        groups: (N,) str, group of each sample (a patient, a recording).
        labels: (N,) int64 in 0..K-1, or (N, K) float64 of 0, 1 and NaN (unknown) where a sample can have several.
        probs: (N, K) float64 in 0..1.
    """

    class_names: tuple[str, ...]
    names: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    probs: np.ndarray

    def only(self, indices: np.ndarray) -> EvaluatedTable:
        """Return the samples at `indices`, in that order."""
        parts = (self.names, self.groups, self.labels, self.probs)
        return EvaluatedTable(self.class_names, *(part[indices] for part in parts))


def write_evaluated(file: Path, table: EvaluatedTable) -> None:
    """Write a CSV with the columns name, group, label (the class), prob_CLASS...; or label_CLASS... (1, 0 or empty).

    Probabilities are written with full precision.

    Args:
        file: the CSV; its folder is created if needed.
        table: the samples.
    """
    probs = [f"{_PROB}{name}" for name in table.class_names]
    labels = ["label"] if table.labels.ndim == 1 else [f"{_LABEL}{name}" for name in table.class_names]
    with draft_of(file) as draft, draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", "group", *labels, *probs])
        for name, group, label, row in zip(table.names, table.groups, table.labels, table.probs, strict=True):
            if table.labels.ndim == 1:
                truth = [table.class_names[label]]
            else:
                truth = ["" if math.isnan(value) else str(int(value)) for value in label]
            writer.writerow([name, group, *truth, *(repr(float(value)) for value in row)])


def read_evaluated(file: Path) -> EvaluatedTable:
    """Read a CSV in the format of `write_evaluated`; a sample without a group forms its own group.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: columns are missing, or a row has no name, a repeated name, an unknown label, or an invalid
            probability.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist; vertebra validate and vertebra test write one for their split."
        )
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # Excel writes a byte-order mark
            reader = csv.DictReader(stream)
            columns = list(reader.fieldnames or ())
            rows = [(reader.line_num, {key: value or "" for key, value in row.items() if key}) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file}: cannot be read as CSV ({error}); save it as comma-separated UTF-8.") from error
    class_names = tuple(column.removeprefix(_PROB) for column in columns if column.startswith(_PROB))
    wanted = ["label"] if "label" in columns else [f"{_LABEL}{name}" for name in class_names]
    if not class_names or not {"name", "group", *wanted} <= set(columns):
        raise ValueError(
            f"{file}: its columns are {columns}; expected name, group, prob_CLASS for every class, and label (or "
            "label_CLASS for every class). Name them in the first line."
        )

    labels: np.ndarray
    lines: dict[str, int] = {}
    for line, row in rows:
        name = row["name"]
        if not name or name in lines:
            reason = f"{name!r} is already in line {lines[name]}" if name else "the name is empty"
            raise ValueError(f"{file}: line {line}: {reason}; expected a unique name per row. Correct it.")
        lines[name] = line
    if "label" in columns:
        labels = np.array([_class(file, line, row["label"], class_names) for line, row in rows], dtype=np.int64)
    else:
        presence = [[_presence(file, line, column, row[column]) for column in wanted] for line, row in rows]
        labels = np.array(presence).reshape(-1, len(class_names))
    probs = [[_prob(file, line, f"{_PROB}{name}", row[f"{_PROB}{name}"]) for name in class_names] for line, row in rows]
    return EvaluatedTable(
        class_names,
        np.array(list(lines), dtype=str),
        np.array([row["group"] or row["name"] for _, row in rows], dtype=str),
        labels,
        np.array(probs).reshape(-1, len(class_names)),
    )


def _class(file: Path, line: int, label: str, class_names: tuple[str, ...]) -> int:
    if label not in class_names:
        raise ValueError(
            f"{file}: line {line}: label {label!r} is not among the classes {', '.join(class_names)}; name one of the "
            "prob_CLASS columns."
        )
    return class_names.index(label)


def _presence(file: Path, line: int, column: str, text: str) -> float:
    values = {"0": 0.0, "1": 1.0, "": math.nan}
    if text not in values:
        raise ValueError(f"{file}: line {line}: {column} is {text!r}; write 1, 0, or nothing where it is unknown.")
    return values[text]


def _prob(file: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError(f"{file}: line {line}: {column} is {text!r}; expected a probability from 0 to 1. Correct it.")
    return value
