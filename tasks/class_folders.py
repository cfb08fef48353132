"""A folder for each class, with the files of the class below it: ImageNet's layout, and what most people have."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks import faults
from tasks.class_names import class_faults
from tasks.faults import Fault
from tasks.labelled_files import LabelledFiles


def read_folders(
    folder: Path, suffixes: Collection[str], class_names: Sequence[str] | None = None
) -> tuple[LabelledFiles, list[Fault]]:
    """List the files of a folder that holds one folder for each class.

    Args:
        folder: what holds the folders of the classes; hidden ones do not count.
        suffixes: endings of the files that count, in small letters.
        class_names: classes of the training split; None takes the names of the folders, in order.

    Returns:
        The files of known classes, and the faults: folders of unknown classes, folders without a file, one class only,
        and classes of nearly one name.

    Raises:
        ValueError: `folder` holds no folder.
    """
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise ValueError(f"{folder}: holds no folders; expected one for each class, with its files. Mend the path.")
    names = tuple(found if class_names is None else class_names)
    label_of = {name: label for label, name in enumerate(names)}
    files: list[str] = []
    labels: list[int] = []
    told = [] if class_names is not None else list(class_faults(folder, names))
    for name in found:
        if name not in label_of:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            message = f"this class is not among those of the training split: {known}. Rename or remove the folder."
            told.append(Fault(faults.UNKNOWN_CATEGORY, str(folder / name), message))
            continue
        inside = list(_files_below(folder / name, suffixes))
        if not inside:
            message = (
                f"holds no file ({', '.join(sorted(suffixes))}); a class needs some. Fill the folder or remove it."
            )
            told.append(Fault(faults.EMPTY_CLASS, str(folder / name), message))
        files += inside
        labels += [label_of[name]] * len(inside)
    return LabelledFiles(names, np.array(files, dtype=str), np.array(labels, dtype=np.int64)), told


def is_folder_per_class(folder: Path, suffixes: Collection[str]) -> bool:
    """Tell whether a folder holds folders that hold files of these kinds."""
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return any(next(_files_below(path, suffixes), None) for path in inside)


def _files_below(folder: Path, suffixes: Collection[str]) -> Iterator[str]:
    # os.walk and not Path.rglob: ImageNet has 1.3 million files, and this does not ask for each what it is
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes:
                yield os.path.join(parent, name)
