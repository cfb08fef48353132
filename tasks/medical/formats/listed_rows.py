"""Studies of a list with a row for each image; a fault names the line of its row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.medical.spelling import respelled
from vertebra.tasks.medical.studies import ScanFiles, Studies


class Row(NamedTuple):
    """Entry of a list: one image with its study, patient and label.

    Attributes:
        line: where in the list.
        path: as the list has it.
        file: of the image.
        label: () int64 of classes and grades, (K,) float32 of findings.
        patient: None where the list has no patients.
        study: None where every image is a study of its own.
    """

    line: int
    path: str
    file: str
    label: np.ndarray
    patient: str | None
    study: str | None


def studies_of(
    source: Path, rows: Sequence[Row], class_names: Sequence[str], grouped: bool
) -> tuple[Studies, list[Fault]]:
    """Gather the rows of one study, in the order in which studies first occur.

    Args:
        source: the list.
        rows: with labels of `class_names`.
        class_names: the K classes.
        grouped: whether rows of one study belong together.

    Returns:
        The studies of all rows that can be used, and the faults: no path, patient or study, an image that does not
        exist or comes twice, a study of two patients or with two labels, and ids that differ in spelling only.
    """
    found: list[Fault] = []
    first: dict[str, Row] = {}  # the first row of each image
    members: dict[str, list[Row]] = {}
    for row in rows:
        study = row.file if row.study is None else row.study
        fault = _fault_of_row(row) or _fault_beside(row, first.get(row.path), "image")
        if fault is None and study in members:
            fault = _fault_beside(row, members[study][0], "study")
        if fault is not None:
            found.append(Fault(fault[0], str(source), f"line {row.line}: {fault[1]}"))
            continue
        first[row.path] = row
        members.setdefault(study, []).append(row)

    # 01 and 1 may be one patient in two splits, which no comparison of texts would find
    for name in ("patient", "study"):
        ids = [(row.line, getattr(row, name)) for row in rows if getattr(row, name)]
        for line, word, before, other in respelled(ids):
            message = (
                f"line {line}: {name} {word!r} is {other!r} in line {before}, spelled differently, or another {name}; "
                "spell ids of one alike, or give the others names that differ in more."
            )
            found.append(Fault(faults.AMBIGUOUS_ID, str(source), message))

    # arrays and not rows: loader processes share them
    every = [row for study in members.values() for row in study]
    heads = [study[0] for study in members.values()]
    images = ScanFiles(
        files=np.array([row.file for row in every], dtype=str),
        starts=np.cumsum([0, *map(len, members.values())]),
        grouped=grouped,
    )
    names = np.array(list(members), dtype=str)
    patients = [name if row.patient is None else row.patient for name, row in zip(members, heads, strict=True)]
    studies = Studies(
        class_names=tuple(class_names),
        names=names,
        labels=np.array([row.label for row in heads]) if heads else np.zeros(0, dtype=np.int64),
        patients=np.array(patients, dtype=str),
        images=images,
        file=str(source),
        rows=np.array([f"line {row.line}" for row in heads], dtype=str),
    )
    return studies, found


def _fault_of_row(row: Row) -> tuple[str, str] | None:
    """Return kind and message of what is wrong with a row by itself."""
    for name, value in (("path", row.path), ("study", row.study)):
        if value == "":
            return faults.UNREADABLE_ANNOTATIONS, f"the {name} is empty; give one, or remove the row."
    if row.patient == "":
        return faults.EMPTY_PATIENT, (
            f"the patient of {row.path} is empty, so another split may have images of the same one; "
            "give one, or remove the row."
        )
    if not os.path.exists(row.file):  # which has no error for a name that no file can have
        return faults.MISSING_FILE, f"{row.file} does not exist; put the file there, or correct the path."
    return None


def _fault_beside(row: Row, other: Row | None, what: str) -> tuple[str, str] | None:
    """Return kind and message of what is wrong with a row beside an earlier one of the same image or study."""
    if other is None:
        return None
    if not np.array_equal(row.label, other.label, equal_nan=row.label.dtype.kind == "f"):
        message = f"this {what} is in line {other.line}, too, with another label; keep one of them."
        return faults.CONFLICTING_LABELS, message
    if what == "image":
        return faults.DUPLICATE_FILE, f"{row.path!r} is in line {other.line}, too; keep one of them."
    if row.patient != other.patient:
        return faults.CONFLICTING_LABELS, (
            f"study {row.study!r} is of patient {row.patient!r}, but of {other.patient!r} in line {other.line}; a "
            "study is of one patient."
        )
    return None
