"""Labeled images in any of the forms that people have: which one is told by what the source is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.classification.arrays import read_arrays
from vertebra.tasks.classification.cifar import read_cifar
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.loading.class_folders import read_folders
from vertebra.tasks.loading.class_tables import read_table
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES

_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_CIFAR_FILES = ("test_batch", "test_batch.bin", "train", "train.bin")  # of which a folder holds one, unpacked


def read_labeled_images(
    root: Path, source: str, class_names: Sequence[str] | None = None, group: str | None = None
) -> tuple[LabeledImages, list[Fault]]:
    """Read one split.

    Args:
        root: a folder, or one file with all splits: CIFAR's archive or an `.npz`.
        source: in a folder: a folder with one folder a class, or a CSV, whose paths start from `root`, too; in a file:
            the name of the split.
        class_names: classes of the training split, which then number the labels; None numbers those that are there.
        group: column of a CSV that says where an image comes from.

    Returns:
        The images that can be used, and the faults that say which cannot and why.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it has none of the known forms, or cannot be read as the one it has.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist; set data.root to a folder, CIFAR's archive or an .npz.")
    if root.name.lower().endswith(_ARCHIVES) or any((root / name).is_file() for name in _CIFAR_FILES):
        return read_cifar(root, source), []
    if root.suffix.lower() == ".npz":
        return read_arrays(root, source), []
    path = root / source
    if path.suffix.lower() == ".csv" and path.is_file():
        files, told = read_table(path, root, class_names, group)
        return LabeledImages(files.class_names, files.names, files.labels, groups=files.groups), told
    if path.is_dir():
        files, told = read_folders(path, IMAGE_SUFFIXES, class_names)
        return LabeledImages(files.class_names, files.names, files.labels), told
    if root.is_file() or path.exists():
        raise ValueError(
            f"{path if root.is_dir() else root}: is none of the known forms; give a folder with one folder for each "
            "class, a .csv with the columns path and label, CIFAR's .tar.gz, or an .npz."
        )
    raise FileNotFoundError(
        f"{path} does not exist; give the split's folder or CSV below data.root. Where {root} itself holds one folder "
        "for each class: data.train=. and data.val_fraction=0.2."
    )
