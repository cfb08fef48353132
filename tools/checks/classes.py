"""Data sets of one label an image: a folder for each class, or a CSV."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tasks.classification.check import check_files
from tasks.classification.folders import is_folder_per_class, read_folders
from tasks.classification.labelled_images import LabelledImages
from tasks.classification.tables import read_table
from tasks.faults import Fault
from tools.checks.source import Content, Source, counted


def find_classes(path: Path, options: argparse.Namespace) -> list[Source]:
    """List the splits of labelled images at a path."""
    splits = [split for given in options.paths for split in _class_splits(given)]
    return [
        Source(str(split), str(split), split, partial(_read_classes, split, splits[0], options.images))
        for split in _class_splits(path)
    ]


def _class_splits(path: Path) -> list[Path]:
    """List the splits at a path, the one that tells the classes first: none where it holds no labelled images."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".csv" else []
    if not path.is_dir():
        return []
    inside = [path / name for name in ("train", "val", "test") if (path / name).is_dir()]
    if any(is_folder_per_class(split) for split in inside):
        return inside
    return [path] if is_folder_per_class(path) else []


def _read_classes(split: Path, first: Path, root: Path | None) -> Content:
    def read(path: Path, names: Sequence[str] | None) -> tuple[LabelledImages, list[Fault]]:
        return read_folders(path, names) if path.is_dir() else read_table(path, root, names)

    names = None if split == first else read(first, None)[0].class_names
    images, faults = read(split, names)
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    files = images.names.tolist()
    return Content(
        files=files,
        told=partial(counted, "labels", dict(zip(images.class_names, counts.tolist(), strict=True))),
        faults=faults,
        check_files=partial(check_files, files),
    )
