"""Column of a CSV that says where each row comes from (a patient, a recording), by its name and its values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vertebra.tasks.loading.files.csv_rows import column_names, has_columns, read_rows
from vertebra.tasks.loading.formats import Source

_PATIENT = re.compile(r"patients?(id|ids|name|no|nr|number|code|uid)?")
# names of other meanings, too (a control group, the subject of a photo), so that their values are looked at
_GROUP = re.compile(r"(source)?(group|subject|participant|recording|person)(id|ids|name|no|nr|number|code)?")
FEWEST_GROUPS = 5  # a fifth of them is held out


class GroupColumn(NamedTuple):
    """A column of groups, of which no two splits may share one.

    Attributes:
        name: as the tables have it.
        is_patient: whether the name says that the groups are patients.
    """

    name: str
    is_patient: bool


def group_column(sources: Sequence[Source], label: str = "label") -> GroupColumn | None:
    """Return the column of groups that all tables of a data set have, that of patients first.

    A column that only repeats the labels, or has fewer than `FEWEST_GROUPS` values, is none, unless it is called one of
    patients.

    Args:
        sources: the splits; None is returned where one is no CSV.
        label: column with the labels.
    """
    files = [source.path for source in sources]
    if not files or any(file.suffix.lower() != ".csv" for file in files):
        return None
    shared = [name for name in column_names(files[0]) if all(has_columns(file, [name]) for file in files)]
    for is_patient, pattern in ((True, _PATIENT), (False, _GROUP)):
        for name in shared:
            if pattern.fullmatch(re.sub(r"[^a-z]", "", name.lower())) and (is_patient or _divides(files, name, label)):
                return GroupColumn(name, is_patient)
    return None


def column_summary(name: str | None, groups: np.ndarray) -> str:
    """Return how many values the column of groups has; nothing without one."""
    return f"; {len(np.unique(groups))} groups in column {name}" if name else ""


def _divides(files: Sequence[Path], name: str, label: str) -> bool:
    columns = [name, label] if all(has_columns(file, [label]) for file in files) else [name]
    try:
        rows = [row for file in files for _, row in read_rows(file, columns, "")]
    except ValueError:  # which the reader of the format will report
        return False
    groups = {row[name] for row in rows}
    labels = {row.get(label, "") for row in rows}
    pairs = {(row[name], row.get(label, "")) for row in rows}
    # one label for every group and one group for every label: another spelling of the labels
    return len(groups) >= FEWEST_GROUPS and not len(pairs) == len(groups) == len(labels)
