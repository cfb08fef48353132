"""Lines of a path and a label: the lists of Kinetics and UCF101."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.video.formats.listed import existing_video, numbered
from vertebra.tasks.video.formats.table import lists_videos


def _lines(root: Path, file: Path) -> tuple[list[str], list[str]]:
    """Read `path label` a line (Kinetics, UCF101's training lists), or the path alone, whose folder is the class."""
    names, labels = [], []
    known = _class_numbers(file.parent / "classInd.txt")
    for line in filter(None, map(str.strip, read_text(file).splitlines())):
        found = re.fullmatch(r"(.+?\.\w+)(?:[\s,]+(\S.*))?", line)
        found = found or re.fullmatch(r"(.*\S)[\s,]+(\S+)", line)  # a folder of frames has no suffix to end at
        path, label = (found[1], found[2]) if found else (line, "")
        # test lists of UCF101 have no label: the folder is the class
        names.append(existing_video(root, path))
        folder = Path(path).parent.name
        labels.append(known.get(label or "", label or folder))
    if not all(labels):
        raise ValueError(f"{file}: a line has no label; expected `path label`, or a path in a folder of its class.")
    return names, labels


def _class_numbers(file: Path) -> dict[str, str]:
    """Read UCF101's `classInd.txt`, `number name` a line, where there is one."""
    if not file.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in read_text(file).splitlines() if line.strip())
    return {number: name.strip() for number, name in pairs}


def _matches(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".txt")


def _find(wanted: Source, group: str | None) -> list[Source]:
    return [Source(wanted.path, files=wanted.files)] if lists_videos(wanted) else []


def _read(source: Source, group: str | None, class_names: Sequence[str] | None) -> tuple[LabeledFiles, list[Fault]]:
    root = source.files or source.path.parent
    names, labels = _lines(root, source.path)
    return numbered(names, labels, class_names, source.path, root)


LINES = Format("Kinetics' or UCF101's list of paths and labels", _matches, _find, _read)
