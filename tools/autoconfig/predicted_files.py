"""Folders to predict on that hold no file of the task, refused before torch is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vertebra.tasks.loading.files.image_files import images_to_predict
from vertebra.tasks.loading.files.listing import walk
from vertebra.tasks.medical.formats.scan_folders import find_scans
from vertebra.tasks.video.video_files import find_videos
from vertebra.tools.autoconfig.early_reading import MOST_FILES

_FINDERS: Mapping[str, Callable[[Sequence[str]], Any]] = {
    "classification": images_to_predict,
    "detection": images_to_predict,
    "medical": find_scans,
    "segmentation": images_to_predict,
    "video": find_videos,
}


def refuse_other_files(task: str, paths: Sequence[Path]) -> None:
    """Refuse a folder without a file that a task reads; large folders are left to the run.

    Args:
        task: such as `detection`; nothing is refused for another one than those known here.
        paths: files and folders.

    Raises:
        ValueError: a folder holds none.
    """
    if task not in _FINDERS:
        return
    for path in paths:
        files = (name for _, _, found in walk(path) for name in found)
        if path.is_dir() and sum(1 for _ in islice(files, MOST_FILES + 1)) <= MOST_FILES:
            _FINDERS[task]([str(path)])
