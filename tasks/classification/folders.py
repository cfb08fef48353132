"""A folder for each class, with the images of the class below it: ImageNet's layout, and what most people have."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks import faults
from tasks.classification.labelled_images import LabelledImages
from tasks.faults import Fault
from tasks.images import IMAGE_SUFFIXES


def read_folders(folder: Path, class_names: Sequence[str] | None = None) -> tuple[LabelledImages, list[Fault]]:
    """List the images of a folder that holds one folder for each class.

    Args:
        folder: what holds the folders of the classes; hidden ones do not count.
        class_names: classes of the training split; None takes the names of the folders, in order.

    Returns:
        The images of known classes, and the faults: folders of unknown classes, and folders without an image.

    Raises:
        ValueError: `folder` holds no folder.
    """
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise ValueError(f"{folder}: holds no folders; expected one for each class, with its images. Mend the path.")
    names = tuple(found if class_names is None else class_names)
    label_of = {name: label for label, name in enumerate(names)}
    files: list[str] = []
    labels: list[int] = []
    told = []
    for name in found:
        if name not in label_of:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            message = f"this class is not among those of the training split: {known}. Rename or remove the folder."
            told.append(Fault(faults.UNKNOWN_CATEGORY, str(folder / name), message))
            continue
        images = list(_images_below(folder / name))
        if not images:
            message = "holds no image; a class needs some. Fill the folder or remove it."
            told.append(Fault(faults.EMPTY_CLASS, str(folder / name), message))
        files += images
        labels += [label_of[name]] * len(images)
    return LabelledImages(names, np.array(files, dtype=str), np.array(labels, dtype=np.int64)), told


def is_folder_per_class(folder: Path) -> bool:
    """Tell whether a folder holds folders that hold images."""
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return any(next(_images_below(path), None) for path in inside)


def _images_below(folder: Path) -> Iterator[str]:
    # os.walk and not Path.rglob: ImageNet has 1.3 million files, and this does not ask for each what it is
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield os.path.join(parent, name)
