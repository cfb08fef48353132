"""Folders of videos: one for each class, of files or of folders of frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.class_folders import is_folder_per_class, read_folders
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.formats import Format, Source, splits_in
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.video.video_files import VIDEO_SUFFIXES, holds_frame_folders, videos_below


def _find(wanted: Source, group: str | None) -> list[Source]:
    if not wanted.path.is_dir():
        return []
    # the splits first, as for images
    for folders in (splits_in(wanted.path), [wanted.path]):
        sources = [Source(folder) for folder in folders]
        if any(map(holds_frame_folders, folders)):
            return sources
        if any(is_folder_per_class(folder, IMAGE_SUFFIXES) for folder in folders):
            return []  # images with a label each, a .gif among them
        if any(is_folder_per_class(folder, VIDEO_SUFFIXES, videos_below) for folder in folders):
            return sources
    return []


def _read(source: Source, group: str | None, class_names: Sequence[str] | None) -> tuple[LabeledFiles, list[Fault]]:
    return read_folders(source.path, VIDEO_SUFFIXES, class_names, videos_below)


FOLDERS = Format("a folder with one folder for each class", Path.is_dir, _find, _read)
