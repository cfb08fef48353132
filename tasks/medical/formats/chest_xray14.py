"""ChestX-ray14: one CSV of all images, and lists of the names that belong to a split.

ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, Wang et al. 2017, https://arxiv.org/abs/1705.02315.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.csv_rows import has_columns
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.medical.formats.listed_rows import Row, studies_of
from vertebra.tasks.medical.formats.study_options import StudyOptions
from vertebra.tasks.medical.formats.study_tables import read_csv
from vertebra.tasks.medical.studies import Studies

COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
_NONE = "No Finding"


def find_entries(source: Path) -> Path | None:
    """Return the CSV of all images that a split belongs to: itself, or the one beside a list of names.

    Args:
        source: `Data_Entry_2017.csv`, `train_val_list.txt` or `test_list.txt`, under whichever names.

    Returns:
        None where the split is not of ChestX-ray14.
    """
    if source.suffix.lower() == ".csv":
        beside = [source]
    elif source.suffix.lower() == ".txt":
        beside = sorted(source.parent.glob("*.csv"))
    else:
        beside = []
    for file in beside:
        try:
            if has_columns(file, COLUMNS):
                return file
        except ValueError:  # which `read_table` reports of the list itself
            continue
    return None


def read_chest_xray14(
    entries: Path, source: Path, root: Path, class_names: Sequence[str] | None = None
) -> tuple[Studies, list[Fault]]:
    """Read a split; findings are all that any image of the CSV has.

    Args:
        entries: `Data_Entry_2017.csv`.
        source: the list of the split's names, or `entries` for all images.
        root: folder of the images, in whichever folders: the archives unpack into twelve.
        class_names: the findings in use; None for those of the CSV, in order.

    Returns:
        The studies that can be used, and the faults, see `listed_rows.studies_of`; also unknown findings, and names of
        the list that are not in the CSV.
    """
    table = read_csv(entries, COLUMNS)
    findings_of = [set(row["Finding Labels"].split("|")) - {_NONE, ""} for _, row in table]
    # of all images and not of the split: both splits have the same findings
    names = list(class_names) if class_names is not None else sorted(set().union(*findings_of))
    wanted = None if source == entries else read_text(source).split()
    listed = None if wanted is None else set(wanted)  # 80,000 names are looked up
    # listed once: the archives unpack into twelve folders, and the list has names alone
    files = {name: os.path.join(folder, name) for folder, _, inside in os.walk(root) for name in inside}
    rows, found = [], []
    for (line, row), findings in zip(table, findings_of, strict=True):
        name = row["Image Index"]
        if listed is not None and name not in listed:
            continue
        unknown = sorted(findings - set(names))
        if unknown:
            message = f"line {line}: {', '.join(unknown)} is not among the findings: {', '.join(names)}."
            found.append(Fault(faults.UNKNOWN_CATEGORY, str(entries), message, unknown[0]))
            continue
        label = np.array([finding in findings for finding in names], dtype=np.float32)
        rows.append(Row(line, name, files.get(name, str(root / name)), label, row["Patient ID"], None))
    known = {row["Image Index"] for _, row in table}
    for line, name in enumerate(wanted or [], start=1):
        if name not in known:
            message = f"line {line}: {name} is not in {entries}. Take it out of the list."
            found.append(Fault(faults.UNKNOWN_IMAGE, str(source), message))
    studies, more = studies_of(entries, rows, names, grouped=False)
    return studies, [*found, *more]


def _matches(path: Path) -> bool:
    return find_entries(path) is not None


def _find(wanted: Source, options: StudyOptions) -> list[Source]:
    return [Source(wanted.path, files=wanted.files)] if wanted.path.is_file() and _matches(wanted.path) else []


def _read(source: Source, options: StudyOptions, class_names: Sequence[str] | None) -> tuple[Studies, list[Fault]]:
    entries = find_entries(source.path) or source.path
    if options.kind not in (None, "findings"):
        raise ValueError(
            f"{entries}: data.kind is {options.kind}, but an image has any number of findings; set data.kind=findings."
        )
    return read_chest_xray14(entries, source.path, source.files or source.path.parent, class_names)


CHEST_XRAY14 = Format("ChestX-ray14's lists beside its Data_Entry_2017.csv", _matches, _find, _read)
