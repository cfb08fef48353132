"""Medical formats: MedMNIST's arrays, ChestX-ray14's lists and tables of studies; scans without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source, read_source
from vertebra.tasks.medical.formats import chest_xray14, medmnist, scan_folders, study_tables
from vertebra.tasks.medical.formats.study_options import Columns, StudyOptions
from vertebra.tasks.medical.studies import Kind, Studies

# Their options are `StudyOptions`. ChestX-ray14's list of all images is a CSV, too, with columns of its own.
FORMATS: tuple[Format[Studies], ...] = (medmnist.MEDMNIST, chest_xray14.CHEST_XRAY14, study_tables.TABLE)
UNLABELED: tuple[Format[Studies], ...] = (scan_folders.SCANS,)


def read_studies(
    root: Path, source: str, kind: Kind, columns: Columns, class_names: Sequence[str] | None = None
) -> tuple[Studies, list[Fault]]:
    """Read one split.

    Args:
        root: a folder, or MedMNIST's `.npz` with all splits.
        source: in a folder a CSV with a row for each image, whose paths start from `root`, too; or ChestX-ray14's
            `Data_Entry_2017.csv`, or its `train_val_list.txt` or `test_list.txt` beside that; in an `.npz` the name of
            the split.
        kind: what the labels are.
        columns: names of the columns of a CSV.
        class_names: classes of the training split; None for those that are there.

    Returns:
        The studies that can be used, and the faults of the others.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it is of none of the formats, or cannot be read as the one it is of.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist; set data.root to a folder, or MedMNIST's .npz.")
    options = StudyOptions(kind, columns)
    if root.is_file():  # which holds every split
        return read_source(FORMATS, Source(root, source), options, class_names)
    path = root / source
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give the split's CSV below data.root.")
    return read_source(FORMATS, Source(path, files=root), options, class_names)
