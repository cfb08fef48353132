"""Data sets of one label a file, images or videos: a folder for each class, or a list."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vertebra.tasks.classification.check import check_files
from vertebra.tasks.loading.class_folders import FindSamples, is_folder_per_class, read_folders
from vertebra.tasks.loading.class_tables import read_table
from vertebra.tasks.loading.files.csv_rows import first_path
from vertebra.tasks.loading.files.faults import CONFLICTING_LABELS, Fault
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.files.listing import files_below
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.loading.leaks import find_leaks
from vertebra.tasks.video.check import check_videos
from vertebra.tasks.video.labeled_videos import read_labeled_videos
from vertebra.tasks.video.video_files import VIDEO_SUFFIXES, holds_frame_folders, videos_below
from vertebra.tools.checks.source import Content, Source, counted, pixels_of


class _Kind(NamedTuple):
    """What is labeled, the endings of the files, what lists them below a folder, and what checks them."""

    things: str
    suffixes: Collection[str]
    find: FindSamples
    check: Callable[..., Iterator[Fault]]


_IMAGES = _Kind("images", IMAGE_SUFFIXES, files_below, check_files)
_VIDEOS = _Kind("videos", VIDEO_SUFFIXES, videos_below, check_videos)


def find_classes(path: Path, options: argparse.Namespace) -> list[Source]:
    """List the splits of labeled files at a path; the first of all tells which classes there are."""
    splits = [split for given in options.paths for split, _ in _splits(given, options)]
    return [
        Source(str(split), str(split), split, partial(_read, split, kind, splits[0], options))
        for split, kind in _splits(path, options)
    ]


def _splits(path: Path, options: argparse.Namespace) -> list[tuple[Path, _Kind]]:
    """List the splits at a path, the one that tells the classes first: none where it holds no labeled files."""
    if path.is_file():
        return [(path, _kind_of_rows(path, options.images or path.parent))] if path.suffix.lower() == ".csv" else []
    if not path.is_dir():
        return []
    inside = [path / name for name in ("train", "val", "test") if (path / name).is_dir()]
    for places in filter(None, (inside, [path])):
        if any(holds_frame_folders(place) for place in places):
            return [(place, _VIDEOS) for place in places]
        for kind in (_IMAGES, _VIDEOS):
            if any(is_folder_per_class(place, kind.suffixes, kind.find) for place in places):
                return [(place, kind) for place in places]
    return []


def _kind_of_rows(file: Path, root: Path) -> _Kind:
    """Return what a CSV lists, by its first path: a video, a folder of frames, or else images.

    Without a head, as in Kinetics, the first field is the path.
    """
    first = first_path(file) or re.split(r"[,\s]", read_text(file).lstrip(), maxsplit=1)[0]
    suffix = Path(first).suffix.lower()
    is_video = suffix in VIDEO_SUFFIXES - IMAGE_SUFFIXES or (bool(first) and (root / first).is_dir())
    return _VIDEOS if is_video else _IMAGES


def _read(split: Path, kind: _Kind, first: Path, options: argparse.Namespace) -> Content:
    def read(path: Path, names: Sequence[str] | None) -> Any:
        if path.is_dir():
            return read_folders(path, kind.suffixes, names, kind.find)
        if kind is _VIDEOS:
            root = options.images or path.parent
            return read_labeled_videos(root, os.path.relpath(path, root), names, options.group)
        return read_table(path, options.images, names, options.group)

    names = None if split == first else read(first, None)[0].class_names
    labeled, faults = read(split, names)
    counts = np.bincount(labeled.labels, minlength=len(labeled.class_names))
    files = labeled.names.tolist()
    return Content(
        files=files,
        told=partial(counted, "labels", dict(zip(labeled.class_names, counts.tolist(), strict=True))),
        faults=faults,
        check_files=partial(_check_files, kind, labeled, pixels_of(options)),
        things=kind.things,
        groups=None if labeled.groups is None else labeled.groups.tolist(),
    )


def _check_files(kind: _Kind, labeled: LabeledFiles, pixels: Pixels, advance: Callable[[], object]) -> Iterator[Fault]:
    """Yield the faults of the files, and the files of two classes that have the same content."""
    options = {"pixels": pixels} if kind is _IMAGES else {}
    yield from kind.check(labeled.names.tolist(), advance, **options)
    files = {name: labeled.names[labeled.labels == k].tolist() for k, name in enumerate(labeled.class_names)}
    for fault in find_leaks(files):
        yield fault._replace(kind=CONFLICTING_LABELS)
