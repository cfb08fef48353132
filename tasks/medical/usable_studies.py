"""The studies of a split that a run can use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.fault_policy import FaultPolicy
from vertebra.tasks.loading.files import faults
from vertebra.tasks.medical.formats import read_studies
from vertebra.tasks.medical.formats.study_options import Columns
from vertebra.tasks.medical.studies import Kind, Studies

REPAIRED = {faults.DUPLICATE_FILE: "left out"}  # any other fault stops loading


def usable_studies(
    root: Path,
    source: str,
    split: str,
    class_names: Sequence[str] | None,
    kind: Kind,
    columns: Columns,
    policy: FaultPolicy,
) -> Studies:
    """Read a split, and repair or refuse its faults; `formats.read_studies` has the arguments.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: the source cannot be read, or has faults that loading cannot repair.
    """
    studies, found = read_studies(root, source, kind, columns, class_names)
    policy.handle(found, REPAIRED, split)
    return studies
