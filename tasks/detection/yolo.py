"""Read YOLO's text labels by their data.yaml: https://docs.ultralytics.com/datasets/detect/."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks import faults
from tasks.detection.annotations import Annotations
from tasks.detection.draft import NOT_A_BOX, Draft, finish, number_classes
from tasks.faults import Fault
from tasks.images import UnreadableImage, find_images, image_size

SPLITS = ("train", "val", "test")


def read_yolo(
    file: Path, split: str = "train", class_names: Sequence[str] | None = None
) -> tuple[Annotations, list[Fault]]:
    """Read one split of a YOLO data set.

    The labels of `a/images/b/0007.jpg` are in `a/labels/b/0007.txt`, a line `class cx cy w h` an object, in fractions
    of the image's width and height. A line `class x1 y1 x2 y2 x3 y3 ...` is a polygon, whose bounding box is taken. An
    image without such a file has no objects; an image that cannot be read has no size, and is left out with a fault.

    Args:
        file: the data.yaml with `names` (a list, or a mapping from numbers), `path` (the root; none is the YAML's own
            folder) and for each split a folder, a list of folders, or a text file that lists images.
        split: key of the split in the YAML.
        class_names: names of the training split, which then number the labels; None numbers them as the YAML does.

    Raises:
        FileNotFoundError: the YAML, or a path that it names, does not exist.
        ValueError: the file is not such a YAML, or the split holds no image.
    """
    content = load_yaml(file)
    categories = _categories(content, file)
    names, category_ids, label_of = number_classes(categories, class_names)
    name_of: dict[Any, str] = dict(categories)
    found: list[Fault] = []
    files, sizes, labels = [], [], []
    paths = _images(content, file, split)
    with ThreadPoolExecutor() as pool:
        for path, size in zip(paths, pool.map(_size_or_fault, paths), strict=True):
            if isinstance(size, Fault):
                found.append(size)
            else:
                files.append(str(path))
                sizes.append(size)
                labels.append(_label_file(path))

    lines = [(image, *line) for image, label in enumerate(labels) for line in _lines(label)]
    image_of = np.array([line[0] for line in lines], dtype=np.int64)
    image_sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    boxes = np.array([line[3] for line in lines], dtype=np.float64).reshape(-1, 4)
    annotations, of_boxes = finish(
        Draft(
            class_names=names,
            category_ids=category_ids,
            files=files,
            image_ids=np.arange(1, len(files) + 1, dtype=np.int64),
            sizes=image_sizes,
            titles=[f"image {os.path.basename(path)!r}" for path in files],
            sources=[str(label) for label in labels],
            image_of=image_of,
            boxes=boxes * image_sizes[image_of][:, [1, 0, 1, 0]],
            labels=np.array([label_of.get(line[2], 0) for line in lines], dtype=np.int64),
            categories=[name_of.get(line[2], line[2]) for line in lines],
            crowd=np.zeros(len(lines), dtype=np.bool_),
            areas=np.full(len(lines), np.nan),
            annotation_ids=np.arange(1, len(lines) + 1, dtype=np.int64),
            unit="line",
            places=np.array([line[1] for line in lines], dtype=np.int64),
        )
    )
    return annotations, found + of_boxes


def load_yaml(file: Path) -> dict[str, Any]:
    """Read a data.yaml.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is not YAML, or has no `names`.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; expected the data.yaml of a YOLO data set. Mend the path.")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())  # YAML's errors have several lines
        raise ValueError(f"{file}: {reason}; expected YAML. Mend the file.") from error
    if not isinstance(content, dict) or not isinstance(content.get("names"), list | dict):
        seen = ", ".join(map(str, content)) if isinstance(content, dict) else repr(content)[:40]
        raise ValueError(f"{file} has {seen}; expected names and a path for each split. Give YOLO's data.yaml.")
    return content


def _categories(content: dict[str, Any], file: Path) -> list[tuple[int, str]]:
    names = content["names"]
    try:
        numbered = sorted((int(key), str(name)) for key, name in names.items()) if isinstance(names, dict) else None
    except (TypeError, ValueError) as error:
        keys = ", ".join(map(repr, names))
        raise ValueError(f"{file}: names has the keys {keys}; expected 0, 1, 2, ... Number the names.") from error
    return [(i, str(name)) for i, name in enumerate(names)] if numbered is None else numbered


def _images(content: dict[str, Any], file: Path, split: str) -> list[Path]:
    """List the images of a split, absolute and in order."""
    entries = content.get(split)
    if not entries:
        keys = ", ".join(key for key in SPLITS if content.get(key))
        raise ValueError(f"{file} has no split {split!r}; it has {keys or 'none'}. Choose of those, or add a path.")
    paths: list[Path] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        place = _place(content, file, str(entry))
        if place.suffix == ".txt":
            lines = (line.strip() for line in place.read_text(encoding="utf-8-sig").splitlines())
            paths += [_listed(line, place, file) for line in lines if line]
        else:
            paths += find_images([place])
    if not paths:
        raise ValueError(f"{file}: {split} is {entries!r}, where there is no image. Mend the path.")
    return [Path(os.path.abspath(path)) for path in paths]


def _place(content: dict[str, Any], file: Path, entry: str) -> Path:
    """Find what a split's entry means: below `path`, or below the YAML's folder where `path` is of another machine.

    Roboflow writes `../train/images` into a YAML that stands beside `train`: a leading `../` may be one too many.
    """
    here = file.absolute().parent
    roots = dict.fromkeys((here / str(content.get("path") or ""), here))
    tried = [root / name for name in dict.fromkeys((entry, entry.removeprefix("../"))) for root in roots]
    for place in tried:
        if place.exists():
            return place
    raise FileNotFoundError(
        f"{file}: {entry!r} is at none of {', '.join(map(str, tried))}. Mend it, or the path above it, in the YAML."
    )


def _listed(line: str, place: Path, file: Path) -> Path:
    """Find an image of a text file: relative to that file, or to the YAML."""
    below_yaml = file.absolute().parent / line
    return below_yaml if below_yaml.exists() else place.parent / line


def _label_file(image: Path) -> Path:
    folders = list(image.parent.parts)
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, f"{image.stem}.txt")


def _size_or_fault(path: Path) -> tuple[int, int] | Fault:
    try:
        return image_size(path)
    except UnreadableImage as error:
        kind = faults.UNREADABLE_IMAGE if path.exists() else faults.MISSING_FILE
        return Fault(kind, str(path), str(error).removeprefix(f"{path}: "))


def _lines(file: Path) -> list[tuple[int, int | str, Sequence[float]]]:
    """Return number, class and box (xyxy, in fractions of the image) of each line that is not blank."""
    try:
        lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [(number, *_object(line.split())) for number, line in enumerate(lines, start=1) if line.strip()]


def _object(words: list[str]) -> tuple[int | str, Sequence[float]]:
    """Return class and box; a class that is no whole number stays the text that it is, and so is unknown."""
    label = int(words[0]) if words[0].isdecimal() else words[0]
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        return label, NOT_A_BOX
    if len(numbers) == 4:
        cx, cy, width, height = numbers
        return label, (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        xs, ys = numbers[0::2], numbers[1::2]
        return label, (min(xs), min(ys), max(xs), max(ys))
    return label, NOT_A_BOX
