"""Report on data sets of masks."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from vertebra.tasks.loading.formats import Source, read_source
from vertebra.tasks.segmentation import formats
from vertebra.tasks.segmentation.check import MaskCheck
from vertebra.tasks.segmentation.formats.mask_options import MaskOptions
from vertebra.tools.checks.source import Content, Split, pixels_of, sources_at


def find_masks(path: Path, flags: argparse.Namespace) -> list[Split]:
    """List the splits of masks at a path; the first of all paths is the training split."""
    first = next((source for given in flags.paths for source in _find(given, flags)), None)
    checks: list[MaskCheck] = []  # of the splits before, the training split's first
    return [
        Split(source, source.title, partial(_content, source, path, flags, checks, is_first=source == first))
        for source in _find(path, flags)
    ]


def _find(path: Path, flags: argparse.Namespace) -> list[Source]:
    return sources_at(formats.FORMATS, path, flags, _options(path, flags))


def _options(path: Path, flags: argparse.Namespace) -> MaskOptions:
    return MaskOptions(path if path.is_dir() else path.parent, flags.classes, flags.ignored)


def _content(source: Source, path: Path, flags: argparse.Namespace, checks: list[MaskCheck], is_first: bool) -> Content:
    records, faults = read_source(formats.FORMATS, source, _options(path, flags))
    # the first check is that of the training split, as splits are checked in this order
    trained = None if is_first else next(iter(checks), None)
    check = MaskCheck(records, source.title, is_first, trained, pixels_of(flags))
    checks.append(check)
    return Content(files=records.images.tolist(), summary=check.summary, faults=faults, check_files=check.faults)
