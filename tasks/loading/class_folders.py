"""A folder for each class, with the files of the class below it: ImageNet's layout, and what most people have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.class_names import class_faults, shortened
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.listing import contents, entries, files_below
from vertebra.tasks.loading.formats import SPLIT_FOLDERS
from vertebra.tasks.loading.labeled_files import LabeledFiles

# folders of data sets whose labels are in files: they are no classes
_PARTS = frozenset(["annotations", "data", "images", "imagesets", "img", "imgs", "jpegimages", "labels", "masks"])
# samples directly in folders of splits have no class
_SPLITS = frozenset(name for names in SPLIT_FOLDERS for name in names)
# a folder and the endings that count -> the paths of the samples below it, in order
FindSamples = Callable[[Path, Collection[str]], Iterable[str]]


def read_folders(
    folder: Path,
    suffixes: Collection[str],
    class_names: Sequence[str] | None = None,
    find: FindSamples = files_below,
) -> tuple[LabeledFiles, list[Fault]]:
    """List the files of a folder that holds one folder for each class.

    Args:
        folder: what holds the folders of the classes; hidden ones do not count. The classes are in natural order.
        suffixes: endings of the files that count, in small letters.
        class_names: classes of the training split; None takes the names of the folders, in order.
        find: lists the samples of a class; the files below its folder if not given.

    Returns:
        The files of known classes, and the faults: folders of unknown classes, folders without a file, one class only,
        and classes of nearly one name.

    Raises:
        ValueError: `folder` holds no folder.
    """
    folders = entries(folder)[0]
    if not folders:
        raise ValueError(f"{folder}: holds no folders; expected one for each class, with its files. Correct the path.")
    names = tuple(folders if class_names is None else class_names)
    label_of = {name: label for label, name in enumerate(names)}
    files: list[str] = []
    labels: list[int] = []
    found = [] if class_names is not None else list(class_faults(folder, names, _deeper(folder, names)))
    for name in folders:
        if name not in label_of:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            message = f"this class is not among those of the training split: {known}. Rename or remove the folder."
            found.append(Fault(faults.UNKNOWN_CATEGORY, str(folder / name), message, name))
            continue
        inside = list(find(folder / name, suffixes))
        if not inside:
            message = (
                f"holds {contents(folder / name)}, none of which is a sample ({', '.join(sorted(suffixes))}); a class "
                "needs some. Fill the folder or remove it."
            )
            found.append(Fault(faults.EMPTY_CLASS, str(folder / name), message))
        files += inside
        labels += [label_of[name]] * len(inside)
    return LabeledFiles(names, np.array(files, dtype=str), np.array(labels, dtype=np.int64)), found


def _deeper(folder: Path, names: Sequence[str]) -> str:
    """Return the remedy where the folder of the only class holds folders, which may be those of the classes."""
    below = entries(folder / names[0])[0] if len(names) == 1 else []
    shown = shortened(below)
    return f"If the folders below it are the classes ({shown}), give {folder / names[0]}." if len(below) > 1 else ""


def is_folder_per_class(folder: Path, suffixes: Collection[str], find: FindSamples = files_below) -> bool:
    """Return whether a folder holds folders that hold samples of this kind, and not only those of another layout."""
    names = entries(folder)[0]
    if names and {name.lower() for name in names} <= _PARTS | _SPLITS:
        return False
    # the first sample is enough: a class may have a million
    return any(next(iter(find(folder / name, suffixes)), None) for name in names)
