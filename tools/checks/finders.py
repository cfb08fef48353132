"""Search for the splits of a data set in the formats of all tasks."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from vertebra.tasks import classification, detection, medical, segmentation, video
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.files.listing import walk
from vertebra.tasks.loading.formats import Format, expected
from vertebra.tools.checks.boxes import find_boxes
from vertebra.tools.checks.classes import find_images, find_videos
from vertebra.tools.checks.foreign import name_foreign
from vertebra.tools.checks.masks import find_masks
from vertebra.tools.checks.medical import find_studies, find_unlabeled_scans
from vertebra.tools.checks.source import Split


class Finder(NamedTuple):
    """Search of a task.

    Attributes:
        task: name of its package.
        tables: module with the table `FORMATS` that it looks for.
        find: lists the splits at a path.
    """

    task: str
    tables: ModuleType
    find: Callable[[Path, argparse.Namespace], list[Split]]

    @property
    def formats(self) -> Sequence[Format[Any]]:
        """The formats of the task."""
        return self.tables.FORMATS


class Found(NamedTuple):
    """The splits at a path.

    Attributes:
        finder: which found them.
        splits: one or more.
    """

    finder: Finder
    splits: list[Split]


# A path is of the first that finds a split there. Folders of frames are folders of images, too, and a scan may be an
# image.
FINDERS = (
    Finder("medical", medical.formats, find_studies),
    Finder("segmentation", segmentation.formats, find_masks),
    Finder("detection", detection.formats, find_boxes),
    Finder("video", video.formats, find_videos),
    Finder("classification", classification.formats, find_images),
)
UNLABELED = Finder("medical", medical.formats, find_unlabeled_scans)


def find_splits(path: Path, flags: argparse.Namespace) -> Found:
    """List the splits at a path.

    Raises:
        FileNotFoundError: there is no such path, or no data set of a known format.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give an annotation file, or a folder that holds some")
    # a folder may hold such a file beside an export that can be read
    if path.is_dir() or not name_foreign(path):
        for finder in (*FINDERS, UNLABELED):
            if splits := finder.find(path, flags):
                return Found(finder, splits)
    if foreign := name_foreign(path):
        raise FileNotFoundError(foreign)
    if path.is_file():
        raise FileNotFoundError(f"{path} is no data set of a known format: {known_formats()}")
    files = (file for folder, _, names in walk(path) for file in (os.path.join(folder, name) for name in names))
    first = next(files, "")
    if first.lower().endswith(tuple(IMAGE_SUFFIXES)):
        raise FileNotFoundError(
            f"{path} holds images such as {os.path.relpath(first, path)}, and no labels; sort them into a folder for "
            "each class, or add their annotations. Formats: vertebra check --help."
        )
    seen = f", but files such as {os.path.relpath(first, path)}" if first else ", and no file"
    raise FileNotFoundError(f"{path} holds no data set of a known format{seen}: {known_formats()}")


def known_formats() -> str:
    """Return the formats of every task as one line."""
    return "; ".join(f"{finder.task}: {expected(finder.formats)}" for finder in FINDERS)
