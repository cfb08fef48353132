"""Names of run folders, after the data set."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from vertebra.tools.checks.split_names import is_split_name

_GENERIC = ("data", "dataset", "annotations", "labels", "images", "")  # names that say nothing about a data set


def run_folder(data: Path, resumes: bool) -> Path:
    """Return the folder of a run: `runs/NAME`, with a number from 2 on where earlier runs are.

    Args:
        data: the data set, after which the run is named.
        resumes: whether the last run is continued.
    """
    name = data_name(data)
    first = Path("runs", name)
    # processes that a launcher starts at once have to agree on a folder, so none may look for a free one
    if "RANK" in os.environ or "SLURM_PROCID" in os.environ:
        return first
    last = first
    for number in count(2):
        folder = first if number == 2 and not _is_used(first) else Path("runs", f"{name}_{number}")
        if not _is_used(folder):
            return last if resumes else folder
        last = folder
    raise AssertionError  # count never ends


def data_name(data: Path) -> str:
    """Return the name of a data set: of its path, or of a folder around it if that says nothing."""
    place = data.absolute()
    names = [place.stem if place.is_file() else place.name, *(parent.name for parent in place.parents)]
    return next((name for name in names if name.lower() not in _GENERIC and not is_split_name(name)), "data")


def _is_used(folder: Path) -> bool:
    return (folder / "checkpoints").is_dir()
