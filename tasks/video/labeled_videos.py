"""Lists of videos with one label each, in the forms that people have: which one is told by what the source is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vertebra.tasks.loading.class_folders import read_folders
from vertebra.tasks.loading.class_names import class_faults, ordered_classes
from vertebra.tasks.loading.class_tables import COLUMNS, REMEDY, read_table
from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.csv_rows import has_columns
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.listing import natural_key
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.video.video_files import VIDEO_SUFFIXES, videos_below


def read_labeled_videos(
    root: Path, source: str, class_names: Sequence[str] | None = None, group: str | None = None
) -> tuple[LabeledFiles, list[Fault]]:
    """Read one split.

    Args:
        root: folder that the split and relative paths start from.
        source: a folder with one folder a class, which holds video files or folders of frames; a CSV with the columns
            `path` and `label`, or lines `path label` with no head (Kinetics); UCF101's `trainlist01.txt` or HMDB51's
            folder of `*_split1.txt`, followed by `:train` or `:test`; or Something-Something's JSON.
        class_names: classes of the training split, which then number the labels; None numbers those that are there.
        group: column of a CSV that tells where a video comes from.

    Returns:
        The videos that can be used, and the faults that say which cannot and why.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it has none of the known forms, or cannot be read as the one it has.
    """
    name, _, part = source.partition(":")
    path = root / name
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give the split's folder or list below data.root.")
    if part:
        return _numbered(*_hmdb51(root, path, part), class_names, path, root)
    suffix = path.suffix.lower()
    if path.is_dir():
        return read_folders(path, VIDEO_SUFFIXES, class_names, videos_below)
    if suffix == ".json":
        return _numbered(*_something(root, path), class_names, path, root)
    if suffix == ".csv" and has_columns(path, COLUMNS):
        return read_table(path, root, class_names, group)
    if suffix in (".csv", ".txt"):
        return _numbered(*_lines(root, path), class_names, path, root)
    raise ValueError(
        f"{path}: is none of the known forms; give a folder with one folder for each class, a .csv with the columns "
        "path and label, UCF101's or HMDB51's lists, or Something-Something's .json."
    )


def _lines(root: Path, file: Path) -> tuple[list[str], list[str]]:
    """Read `path label` a line (Kinetics, UCF101's training lists), or the path alone, whose folder is the class."""
    names, labels = [], []
    known = _class_numbers(file.parent / "classInd.txt")
    for line in filter(None, map(str.strip, read_text(file).splitlines())):
        found = re.fullmatch(r"(.+?\.\w+)(?:[\s,]+(\S.*))?", line)
        found = found or re.fullmatch(r"(.*\S)[\s,]+(\S+)", line)  # a folder of frames has no suffix to end at
        path, label = (found[1], found[2]) if found else (line, "")
        names.append(_existing(root, path))
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


def _hmdb51(root: Path, folder: Path, part: str) -> tuple[list[str], list[str]]:
    """Read `CLASS_test_split1.txt`, `name 0|1|2` a line, of which 1 is for training, 2 for testing."""
    wanted = {"train": "1", "test": "2"}.get(part)
    if wanted is None or not folder.is_dir():
        raise ValueError(f"{folder}:{part}: expected is HMDB51's folder of lists, followed by :train or :test.")
    names, labels = [], []
    for file in sorted(folder.glob("*_test_split1.txt"), key=lambda file: natural_key(file.name)):
        kind = file.name.removesuffix("_test_split1.txt")
        for line in filter(None, map(str.strip, read_text(file).splitlines())):
            name, number = line.rsplit(maxsplit=1)
            if number == wanted:
                names.append(_existing(root, f"{kind}/{name}"))
                labels.append(kind)
    if not names:
        raise ValueError(f"{folder}: holds no list CLASS_test_split1.txt with a video for {part}.")
    return names, labels


def _something(root: Path, file: Path) -> tuple[list[str], list[str]]:
    """Read `[{"id": ..., "template": ...}]`; a video is `ID.webm`, `ID.mp4` or a folder of frames below `root`."""
    try:
        rows: list[dict[str, Any]] = json.loads(read_text(file))
        labels = [str(row.get("template", row.get("label"))).replace("[", "").replace("]", "") for row in rows]
        names = [_existing(root, str(row["id"])) for row in rows]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file}: is no list of Something-Something ({error!r:.100}); expected are rows with id and template."
        ) from None
    return names, labels


def _existing(root: Path, path: str) -> str:
    """Return where a video lies: at its path, with one of the known endings, or as a folder of frames."""
    plain = root / path
    if plain.exists():
        return str(plain)
    below = [plain.with_name(plain.name + suffix) for suffix in sorted(VIDEO_SUFFIXES)]
    frames = plain.with_suffix("")
    return str(next((file for file in (*below, frames) if file.exists()), plain))


def _numbered(
    names: list[str], labels: list[str], class_names: Sequence[str] | None, file: Path, root: Path
) -> tuple[LabeledFiles, list[Fault]]:
    """Number the labels, and report videos twice or outside of `root` and labels that are not among `class_names`."""
    told: list[Fault] = []
    if class_names is None:
        class_names = ordered_classes(labels)
        told += class_faults(file, class_names)
    label_of = {name: label for label, name in enumerate(class_names)}
    outside = find_outside(file, names, [root, file.parent], REMEDY)
    told += outside.values()
    kept: dict[str, str] = {}
    for place, (name, label) in enumerate(zip(names, labels, strict=True)):
        if place in outside:
            continue
        if label not in label_of:
            message = f"{name}: label {label!r} is not among the training split's."
            told.append(Fault(faults.UNKNOWN_CATEGORY, str(file), message))
        elif name in kept:
            kind = faults.DUPLICATE_FILE if kept[name] == label else faults.CONFLICTING_LABELS
            told.append(Fault(kind, str(file), f"{name} comes twice, first as {kept[name]!r}; keep one of them."))
        else:
            kept[name] = label
    numbers = np.array([label_of[label] for label in kept.values()], dtype=np.int64)
    return LabeledFiles(tuple(class_names), np.array(list(kept), dtype=str), numbers), told
