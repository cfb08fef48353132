"""Classification formats: folders, tables, CIFAR's archives and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.classification.formats import cifar, folders, npz, table
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source, expected, read_source

# their option is the column of a table with the source of each image, or None
FORMATS: tuple[Format[LabeledImages], ...] = (cifar.CIFAR, npz.NPZ, table.TABLE, folders.FOLDERS)


def read_labeled_images(
    root: Path, source: str, class_names: Sequence[str] | None = None, group: str | None = None
) -> tuple[LabeledImages, list[Fault]]:
    """Read one split.

    Args:
        root: a folder, or one file with all splits: CIFAR's archive or an `.npz`.
        source: in a folder: a folder with one folder a class, or a CSV, whose paths start from `root`, too; in a file:
            the name of the split.
        class_names: classes of the training split, which then number the labels; None numbers those that are there.
        group: CSV column with the source of each image.

    Returns:
        The images that can be used, and the faults of the others.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it is of none of the formats, or cannot be read as the one it is of.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist; set data.root to a folder, CIFAR's archive or an .npz.")
    # such a root holds every split, and the source is the name of one
    if root.is_file() or cifar.CIFAR.matches(root):
        return read_source(FORMATS, Source(root, source), group, class_names)
    path = root / source
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; expected {expected(FORMATS)} below data.root. Where {root} itself holds one "
            "folder for each class: data.train=. and data.val_fraction=0.2."
        )
    return read_source(FORMATS, Source(path, files=root), group, class_names)
