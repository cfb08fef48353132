"""Data sets of one label a file, images or videos: a folder for each class, or a list."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.class_folders import is_folder_per_class, read_folders
from tasks.class_tables import read_table
from tasks.classification.check import check_files
from tasks.csv_rows import first_path
from tasks.faults import CONFLICTING_LABELS, Fault
from tasks.images import IMAGE_SUFFIXES
from tasks.labelled_files import LabelledFiles
from tasks.leaks import find_leaks
from tasks.video.check import check_videos
from tasks.video.decoding import VIDEO_SUFFIXES
from tools.checks.source import Content, Source, counted


class _Kind(NamedTuple):
    """What is labelled, the endings of the files, and who looks at them."""

    things: str
    suffixes: Collection[str]
    check: Callable[[Sequence[str], Callable[[], object]], Iterator[Fault]]


_KINDS = (_Kind("images", IMAGE_SUFFIXES, check_files), _Kind("videos", VIDEO_SUFFIXES, check_videos))


def find_classes(path: Path, options: argparse.Namespace) -> list[Source]:
    """List the splits of labelled files at a path; the first of all tells which classes there are."""
    splits = [split for given in options.paths for split, _ in _splits(given)]
    return [
        Source(str(split), str(split), split, partial(_read, split, kind, splits[0], options))
        for split, kind in _splits(path)
    ]


def _splits(path: Path) -> list[tuple[Path, _Kind]]:
    """List the splits at a path, the one that tells the classes first: none where it holds no labelled files."""
    if path.is_file():
        return [(path, _kind_of_rows(path))] if path.suffix.lower() == ".csv" else []
    if not path.is_dir():
        return []
    inside = [path / name for name in ("train", "val", "test") if (path / name).is_dir()]
    for kind in _KINDS:
        if any(is_folder_per_class(split, kind.suffixes) for split in inside):
            return [(split, kind) for split in inside]
        if is_folder_per_class(path, kind.suffixes):
            return [(path, kind)]
    return []


def _kind_of_rows(file: Path) -> _Kind:
    """Tell by the first path of a CSV what it lists: images where that does not tell."""
    suffix = Path(first_path(file)).suffix.lower()
    return next((kind for kind in _KINDS if suffix in kind.suffixes), _KINDS[0])


def _read(split: Path, kind: _Kind, first: Path, options: argparse.Namespace) -> Content:
    def read(path: Path, names: Sequence[str] | None) -> Any:
        if path.is_dir():
            return read_folders(path, kind.suffixes, names)
        return read_table(path, options.images, names, options.group)

    names = None if split == first else read(first, None)[0].class_names
    labelled, faults = read(split, names)
    counts = np.bincount(labelled.labels, minlength=len(labelled.class_names))
    files = labelled.names.tolist()
    return Content(
        files=files,
        told=partial(counted, "labels", dict(zip(labelled.class_names, counts.tolist(), strict=True))),
        faults=faults,
        check_files=partial(_check_files, kind, labelled),
        things=kind.things,
        groups=None if labelled.groups is None else labelled.groups.tolist(),
    )


def _check_files(kind: _Kind, labelled: LabelledFiles, advance: Callable[[], object]) -> Iterator[Fault]:
    """Yield the faults of the files, and the files of two classes that have the same content."""
    yield from kind.check(labelled.names.tolist(), advance)
    files = {name: labelled.names[labelled.labels == k].tolist() for k, name in enumerate(labelled.class_names)}
    for fault in find_leaks(files):
        yield fault._replace(kind=CONFLICTING_LABELS)
