"""YOLO's label files: which belongs to which image, and what their lines mean."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import NamedTuple

from vertebra.tasks.detection.annotations.raw_annotations import NOT_A_BOX
from vertebra.tasks.detection.formats.yolo_yaml import nonblank_lines
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.files.text_files import read_text

LONGEST = 64 << 20  # bytes; a file describes one image
CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels")  # labelImg's, Darknet's, Roboflow's
FAR = 2.0  # a fraction of the image beyond which a number is no corner of an object in it
_CLASS = re.compile(r"(\d{1,9})(\.0*)?", re.ASCII)


class Line(NamedTuple):
    """An object of a label file.

    Attributes:
        number: of the line, from 1.
        label: the class; text where it is no whole number.
        box: xyxy in fractions of the image, `NOT_A_BOX` where there is none.
        reason: why there is none.
        has_confidence: whether a fifth number follows the box, as in the files that a detector writes.
        polygons: the outline in fractions of the image, x and y of each corner; empty where there is only a box, or
            where no outlines are wanted.
    """

    number: int
    label: int | str
    box: Sequence[float]
    reason: str = ""
    has_confidence: bool = False
    polygons: Sequence[Sequence[float]] = ()


def label_files(images: Iterable[Path]) -> list[Path | None]:
    """Find the label file of each image: in `labels` in place of the last folder `images`, or beside the image.

    The second is Darknet's layout. None where an image has no label file: it has no objects, or is not labeled.
    """
    return [next((file for file in candidates(image) if os.path.lexists(file)), None) for image in images]


def candidates(image: Path) -> tuple[Path, Path]:
    """Return where the label file of an image may be, the more common layout first."""
    # the last one: a data set may be below a folder of that name
    folders = list(image.parent.parts)
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, f"{image.stem}.txt"), image.with_suffix(".txt")


def read_lines(file: Path, keypoint_numbers: int = 0, with_outlines: bool = False) -> list[Line]:
    """Read the lines of a label file that are not blank.

    Args:
        file: the label file.
        keypoint_numbers: how many numbers of keypoints follow each box.
        with_outlines: keep the corners of polygons.

    Raises:
        UnreadableFile: it is a folder, not text, or too long.
    """
    lines = read_text(file, LONGEST).splitlines()
    objects = [_object(number, line, keypoint_numbers) for number, line in enumerate(lines, start=1) if line.strip()]
    return objects if with_outlines else [line._replace(polygons=()) for line in objects]


def has_labels(folder: Path) -> bool:
    """Return whether any image of a folder has a label file."""
    return any(label_files(folder / name for name in _names(folder, IMAGE_SUFFIXES)))


def find_shared(images: Sequence[Path], labels: Sequence[Path | None]) -> Iterator[Fault]:
    """Find label files that belong to several images, such as a.jpg and a.png."""
    images_of: dict[Path, dict[str, None]] = {}
    for image, label in zip(images, labels, strict=True):
        if label is not None:
            images_of.setdefault(label, {})[image.name] = None
    for label, names in images_of.items():
        if len(names) > 1:
            message = f"is the label file of {' and of '.join(names)}; expected one image. Rename or remove the others."
            yield Fault(faults.SHARED_LABELS, str(label), message)


def find_orphans(images: Iterable[Path]) -> Iterator[Fault]:
    """Find label files without an image, in the folders where the labels of these images are or may be."""
    for folder in dict.fromkeys(image.parent for image in images):
        stems = {os.path.splitext(name)[0] for name in _names(folder, IMAGE_SUFFIXES)}
        for labels in dict.fromkeys(file.parent for file in candidates(folder / "x")):
            for name in _names(labels, (".txt",)):
                if os.path.splitext(name)[0] in stems or name in CLASS_FILES or not _has_objects(labels / name):
                    continue
                message = f"has labels, but {folder} has no image of that name. Put it there, or remove the labels."
                yield Fault(faults.ORPHAN_LABELS, str(labels / name), message)


def find_other_class_files(folders: Iterable[Path], names: dict[int, str], file: Path) -> Iterator[Fault]:
    """Find class files of other tools that number the classes differently than the data.yaml does."""
    for folder in dict.fromkeys(folders):
        for path in (folder / name for name in CLASS_FILES):
            if not path.is_file():
                continue
            listed = nonblank_lines(path)
            wrong = [i for i, name in enumerate(listed) if names.get(i, name) != name]
            if wrong:
                i = wrong[0]
                message = (
                    f"class {i} is {listed[i]!r:.80} here and {names[i]!r:.80} in {file}; expected the same order."
                )
                yield Fault(faults.CLASS_FILE, str(path), f"{message} Correct either, or remove this file.")


def _object(number: int, line: str, keypoint_numbers: int) -> Line:
    words = line.split()
    match = _CLASS.fullmatch(words[0])  # 3.0, too, as numpy.savetxt writes it
    label = int(match[1]) if match else words[0]
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        return Line(number, label, NOT_A_BOX, f"{short(line)} has words that are no numbers; {_EXPECTED}")
    count = len(numbers)
    has_confidence = count == 5 and 0 <= numbers[4] <= 1
    if count == 4 or has_confidence or (keypoint_numbers and count == 4 + keypoint_numbers):
        cx, cy, width, height = numbers[:4]
        box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        return Line(number, label, box, has_confidence=has_confidence)
    if count < 6 or count % 2:
        hint = " A pose is read where the data.yaml has kpt_shape." if count > 6 else ""
        hint = f" {numbers[4]:g} is no confidence in 0..1 either." if count == 5 else hint
        return Line(number, label, NOT_A_BOX, f"it has {count} numbers behind the class; {_EXPECTED}{hint}")
    # a track id or pixels behind a box would be taken for corners
    far = [value for value in numbers if not abs(value) <= FAR]
    if far:
        reason = f"it has {count} numbers behind the class, of which {far[0]:g} is no corner in 0..1; {_EXPECTED}"
        return Line(number, label, NOT_A_BOX, reason)
    xs, ys = numbers[0::2], numbers[1::2]
    return Line(number, label, (min(xs), min(ys), max(xs), max(ys)), polygons=(numbers,))


_EXPECTED = "expected are four finite numbers cx cy w h, or x y of three or more corners, in fractions of the image."


def _names(folder: Path, suffixes: Iterable[str]) -> list[str]:
    """List the names of a folder with these endings, without hidden ones."""
    wanted = tuple(suffixes)
    if not folder.is_dir():
        return []
    return sorted(n for n in os.listdir(folder) if n.lower().endswith(wanted) and not n.startswith("."))


def _has_objects(file: Path) -> bool:
    """Return whether a text file is a label file: every line has a class and four numbers at least."""
    try:
        lines = read_lines(file)
    except ValueError:
        return False
    return bool(lines) and all(isinstance(line.label, int) and not line.reason for line in lines)
