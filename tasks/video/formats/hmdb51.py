"""HMDB51's lists: a file for each class with a video and its split a line, https://doi.org/10.1109/ICCV.2011.6126543."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.listing import natural_key
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.video.formats.listed import existing_video, numbered

_LISTS = "*_test_split1.txt"


def _hmdb51(root: Path, folder: Path, part: str) -> tuple[list[str], list[str]]:
    """Read `CLASS_test_split1.txt`, `name 0|1|2` a line, of which 1 is for training, 2 for testing."""
    wanted = {"train": "1", "test": "2"}.get(part)
    if wanted is None:
        raise ValueError(f"{folder}: HMDB51 has no split {part!r}; expected its lists, followed by :train or :test.")
    # the first of three splits, which most papers report
    names, labels = [], []
    for file in sorted(folder.glob(_LISTS), key=lambda file: natural_key(file.name)):
        kind = file.name.removesuffix("_test_split1.txt")
        for line in filter(None, map(str.strip, read_text(file).splitlines())):
            name, number = line.rsplit(maxsplit=1)
            if number == wanted:  # 0 is for videos that neither part uses
                names.append(existing_video(root, f"{kind}/{name}"))
                labels.append(kind)
    if not names:
        raise ValueError(f"{folder}: holds no list CLASS_test_split1.txt with a video for {part}.")
    return names, labels


def _matches(path: Path) -> bool:
    return path.is_dir() and next(path.glob(_LISTS), None) is not None


def _find(wanted: Source, group: str | None) -> list[Source]:
    if not _matches(wanted.path):
        return []
    return [Source(wanted.path, split, wanted.files) for split in ("train", "test")]


def _read(source: Source, group: str | None, class_names: Sequence[str] | None) -> tuple[LabeledFiles, list[Fault]]:
    root = source.files or source.path.parent
    names, labels = _hmdb51(root, source.path, source.split)
    return numbered(names, labels, class_names, source.path, root)


HMDB51 = Format("HMDB51's folder of lists", _matches, _find, _read)
