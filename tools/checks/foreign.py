"""Exports of annotation tools in formats of their own, which are named with the export to choose instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEAD = 1 << 16  # characters of a file that are looked at
MOST = 20  # files


class _Foreign(NamedTuple):
    """A tool's own format.

    Attributes:
        suffix: of its files.
        start: pattern of what they start with.
        keys: what they contain.
        remedy: which export to choose.
    """

    suffix: str
    start: str
    keys: tuple[str, ...]
    remedy: str


_LABEL_STUDIO = "is Label Studio's own format; export as COCO, YOLO with images, or Pascal VOC"
_FIFTYONE = (
    "is FiftyOne's own format; export as COCODetectionDataset, YOLOv5Dataset or ImageClassificationDirectoryTree"
)
_KNOWN = (
    _Foreign(".json", r"\s*\[", ('"annotations"', '"result"', '"data"'), _LABEL_STUDIO),
    _Foreign(".json", r"\s*\[", ('"annotator"', '"id"'), _LABEL_STUDIO),
    _Foreign(".csv", r"", ("annotation_id", "annotator"), _LABEL_STUDIO),
    _Foreign(".json", r"\s*\{\s*\"classes\"", ('"labels"',), _FIFTYONE),
    _Foreign(".json", r"\s*\{\s*\"samples\"", (), _FIFTYONE),
)


def name_foreign(path: Path) -> str:
    """Return a sentence on a file that is, or that a folder holds, in another tool's own format; empty if none is."""
    for file in [path] if path.is_file() else sorted(path.iterdir())[:MOST]:
        for remedy in _remedies(file):
            return f"{file} {remedy}"
    return ""


def _remedies(file: Path) -> Iterator[str]:
    suffixes = {known.suffix for known in _KNOWN}
    if file.suffix.lower() not in suffixes or not file.is_file():
        return
    with file.open(encoding="utf-8", errors="replace") as opened:
        head = opened.read(HEAD)
    for known in _KNOWN:
        if known.suffix == file.suffix.lower() and re.match(known.start, head) and all(k in head for k in known.keys):
            yield known.remedy
