"""Folders of images: one for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.classification.labeled_images import LabeledImages, from_files
from vertebra.tasks.loading.class_folders import is_folder_per_class, read_folders
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.formats import Format, Source, splits_in


def _find(wanted: Source, group: str | None) -> list[Source]:
    # a folder with train and val holds folders of images itself, and would be a data set of the classes train and val
    for folders in (splits_in(wanted.path), [wanted.path]):
        if any(is_folder_per_class(folder, IMAGE_SUFFIXES) for folder in folders if folder.is_dir()):
            return [Source(folder) for folder in folders]
    return []


def _read(source: Source, group: str | None, class_names: Sequence[str] | None) -> tuple[LabeledImages, list[Fault]]:
    files, found = read_folders(source.path, IMAGE_SUFFIXES, class_names)
    return from_files(files), found


FOLDERS = Format("a folder with one folder for each class", Path.is_dir, _find, _read)
