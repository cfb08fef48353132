"""Something-Something's JSON: an id and a template for each video, https://arxiv.org/abs/1706.04261."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.video.formats.listed import existing_video, numbered


def _something(root: Path, file: Path) -> tuple[list[str], list[str]]:
    """Read `[{"id": ..., "template": ...}]`; a video is `ID.webm`, `ID.mp4` or a folder of frames below `root`."""
    try:
        # the template is the class; the label has the things of one video filled in
        rows: list[dict[str, Any]] = json.loads(read_text(file))
        labels = [str(row.get("template", row.get("label"))).replace("[", "").replace("]", "") for row in rows]
        names = [existing_video(root, str(row["id"])) for row in rows]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file}: is no list of Something-Something ({error!r:.100}); expected are rows with id and template."
        ) from None
    return names, labels


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _find(wanted: Source, group: str | None) -> list[Source]:
    return [Source(wanted.path, files=wanted.files)] if wanted.path.is_file() and _matches(wanted.path) else []


def _read(source: Source, group: str | None, class_names: Sequence[str] | None) -> tuple[LabeledFiles, list[Fault]]:
    root = source.files or source.path.parent
    names, labels = _something(root, source.path)
    return numbered(names, labels, class_names, source.path, root)


SOMETHING = Format("Something-Something's .json", _matches, _find, _read)
