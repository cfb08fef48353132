"""Studies in any of the forms that people have: which one is told by what the source is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.medical.chest_xray14 import find_entries, read_chest_xray14
from vertebra.tasks.medical.medmnist import read_medmnist
from vertebra.tasks.medical.studies import Kind, Studies
from vertebra.tasks.medical.study_tables import Columns, read_table


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
        columns: how the columns of a CSV are called.
        class_names: classes of the training split; None for those that are there.

    Returns:
        The studies that can be used, and the faults that say which cannot and why.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it has none of the known forms, or cannot be read as the one it has.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist; set data.root to a folder, or MedMNIST's .npz.")
    if root.suffix.lower() == ".npz":
        return read_medmnist(root, source, kind, class_names), []
    path = root / source
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give the split's CSV below data.root.")
    entries = find_entries(path)
    if entries is not None:
        if kind != "findings":
            raise ValueError(f"{entries}: an image has any number of findings; set data.kind=findings.")
        return read_chest_xray14(entries, path, root, class_names)
    if path.suffix.lower() == ".csv":
        return read_table(path, root, kind, columns, class_names)
    raise ValueError(
        f"{path}: is none of the known forms; give a .csv with a row for each image, ChestX-ray14's lists beside its "
        "Data_Entry_2017.csv, or set data.root to MedMNIST's .npz."
    )
