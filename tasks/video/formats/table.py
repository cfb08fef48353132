"""Table of videos: a CSV with a path and a label in every row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.class_tables import COLUMNS, read_table
from vertebra.tasks.loading.files.csv_rows import first_path, has_columns
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.video.video_files import VIDEO_SUFFIXES


def lists_videos(wanted: Source) -> bool:
    """Return whether the first path of a CSV is that of a video or of a folder of frames.

    Without a head, as in Kinetics, the first field is the path.
    """
    file = wanted.path
    if not file.is_file() or file.suffix.lower() != ".csv":
        return False
    # the first alone: to open thousands of files is slow on network disks
    first = first_path(file) or re.split(r"[,\s]", read_text(file).lstrip(), maxsplit=1)[0]
    # an empty name would be the folder of the CSV itself
    is_folder = bool(first) and ((wanted.files or file.parent) / first).is_dir()
    return Path(first).suffix.lower() in VIDEO_SUFFIXES - IMAGE_SUFFIXES or is_folder


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and has_columns(path, COLUMNS)


def _find(wanted: Source, group: str | None) -> list[Source]:
    is_table = _matches(wanted.path) and lists_videos(wanted)
    return [Source(wanted.path, files=wanted.files)] if is_table else []


def _read(source: Source, group: str | None, class_names: Sequence[str] | None) -> tuple[LabeledFiles, list[Fault]]:
    return read_table(source.path, source.files, class_names, group)


TABLE = Format("a .csv with the columns path and label", _matches, _find, _read)
