"""Report on data sets of one label a file, images or videos."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vertebra.tasks.classification import formats as image_formats
from vertebra.tasks.classification.check import check_files
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.loading.files.faults import CONFLICTING_LABELS, Fault
from vertebra.tasks.loading.formats import Format, Source, read_source
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.loading.leaks import find_leaks
from vertebra.tasks.video import formats as video_formats
from vertebra.tasks.video.check import check_videos
from vertebra.tools.checks.group_columns import column_summary, group_column
from vertebra.tools.checks.source import Content, Split, counted, pixels_of, sources_at

Check = Callable[..., Iterator[Fault]]


def find_images(path: Path, flags: argparse.Namespace) -> list[Split]:
    """List the splits of labeled images at a path; the first of all paths defines the classes."""
    check = partial(check_files, pixels=pixels_of(flags))
    return _find(path, flags, image_formats.FORMATS, check, "images")


def find_videos(path: Path, flags: argparse.Namespace) -> list[Split]:
    """List the splits of labeled videos at a path; the first of all paths defines the classes."""
    return _find(path, flags, video_formats.FORMATS, check_videos, "videos")


def _find(
    path: Path, flags: argparse.Namespace, formats: Sequence[Format[Any]], check: Check, things: str
) -> list[Split]:
    find = partial(sources_at, formats, flags=flags, options=flags.group)
    sources = [source for given in flags.paths for source in find(given)]
    first = sources[0] if sources else None
    group = flags.group
    if group is None and (column := group_column(sources)):
        group = column.name
    content = partial(_content, read=partial(read_source, formats, options=group), check=check, things=things)
    return [
        Split(source, source.title, partial(content, source, None if source == first else first, group=group))
        for source in find(path)
    ]


def _content(
    source: Source, first: Source | None, read: Callable[..., Any], check: Check, things: str, group: str | None
) -> Content:
    # read again for every split: to keep it would take the memory of the largest
    class_names = None if first is None else read(first)[0].class_names
    labeled, faults = read(source, class_names=class_names)
    counts = np.bincount(labeled.labels, minlength=len(labeled.class_names))
    # pixels of an archive are read with its labels
    are_files = not isinstance(labeled, LabeledImages) or labeled.pixels is None
    return Content(
        files=labeled.names.tolist() if are_files else [],
        summary=partial(
            counted,
            "labels",
            dict(zip(labeled.class_names, counts.tolist(), strict=True)),
            "" if labeled.groups is None else column_summary(group, labeled.groups),
        ),
        faults=faults,
        check_files=partial(_check_files, labeled, check) if are_files else (lambda advance: iter(())),
        things=things,
        groups=None if labeled.groups is None else labeled.groups.tolist(),
        num_samples=len(labeled),
    )


def _check_files(labeled: LabeledFiles | LabeledImages, check: Check, advance: Callable[[], object]) -> Iterator[Fault]:
    """Yield the faults of the files, and the files of two classes that have the same content."""
    yield from check(labeled.names.tolist(), advance)
    # one content with two labels teaches nothing
    files = {name: labeled.names[labeled.labels == k].tolist() for k, name in enumerate(labeled.class_names)}
    for fault in find_leaks(files):
        yield fault._replace(kind=CONFLICTING_LABELS)
