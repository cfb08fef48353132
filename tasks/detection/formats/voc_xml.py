"""One XML file of Pascal VOC: https://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from vertebra.tasks.detection.annotations.per_image import FileContent, FileObject
from vertebra.tasks.detection.annotations.raw_annotations import NOT_A_BOX
from vertebra.tasks.loading.files.image_headers import LARGEST_SIDE
from vertebra.tasks.loading.files.text_files import read_bytes

LONGEST = 100 << 20  # bytes; a file describes one image
_OFFICIAL = re.compile(r"The VOC\d{4} Database")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_COORDINATE = re.compile(r"([xy])\d*")


def read_xml(source: Path) -> FileContent:
    """Read an XML file; entities, by which a small file can grow to gigabytes or name others, are refused.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is not VOC's XML; the message has no file.
    """
    try:
        root = _parsed(read_bytes(source, LONGEST))
    except (expat.ExpatError, LookupError) as error:  # the second: unknown encodings
        raise ValueError(f"cannot be read: {error}; expected XML") from None
    if root.tag.lower() != "annotation":  # HTML of a download that failed is XML, too
        raise ValueError(f"is XML of <{root.tag:.40}>; expected VOC's <annotation>")
    size, size_fault = _size(root)
    # the official files count pixels from 1, other tools from 0
    first = 1 if _OFFICIAL.search(root.findtext("source/database") or "") else 0
    objects = [_object(number, element, first) for number, element in enumerate(root.findall("object"), start=1)]
    return FileContent((root.findtext("filename") or "").strip(), size, size_fault, objects)


def _parsed(content: bytes) -> Element:
    def refuse(name: str, *rest: object) -> None:
        raise ValueError(f"declares the entity {name:.40}, which VOC's files never do; expected plain XML")

    # expat and not ElementTree's parser, which lets no handler refuse entities
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True  # else text comes in pieces
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(content, True)
    return builder.close()


def _size(root: Element) -> tuple[tuple[int, int], str]:
    """Return height and width, 0 and 0 where they are not stated or unusable, and why they are unusable."""
    texts = [[(size.findtext(side) or "").strip() for side in ("height", "width")] for size in root.findall("size")]
    texts = [both for both in texts if all(both)]
    if not texts:
        return (0, 0), ""
    if any(both != texts[0] for both in texts):
        return (0, 0), f"it has {len(texts)} sizes that differ; expected one. Remove the others."
    height, width = map(_number, texts[0])
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        seen = " x ".join(map(short, reversed(texts[0])))
        return (0, 0), f"its size is {seen}; expected width and height in pixels. Correct it."
    return (int(height), int(width)), ""


def _object(number: int, element: Element, first: int) -> FileObject:
    name = (element.findtext("name") or "").strip() or None
    box, reason = _box(element)
    shifted = (box[0] - first, box[1] - first, box[2], box[3])
    return FileObject(number, name, shifted, reason, (element.findtext("difficult") or "").strip() == "1")


def _box(element: Element) -> tuple[Sequence[float], str]:
    """Return the box of an object, or of its polygon where that alone is given, and why there is none."""
    boxes = element.findall("bndbox")
    if not boxes and (polygon := element.find("polygon")) is not None:
        points: dict[str, list[float]] = {"x": [], "y": []}
        for part in polygon.iter():
            if match := _COORDINATE.fullmatch(part.tag):
                points[match[1]].append(_number(part.text))
        xs, ys = points["x"], points["y"]
        if len(xs) == len(ys) >= 3 and all(map(math.isfinite, [*xs, *ys])):
            return (min(xs), min(ys), max(xs), max(ys)), ""
        return NOT_A_BOX, "it has no bndbox, and its polygon has no three corners; expected four finite numbers."
    if len(boxes) != 1:
        tags = ", ".join(f"{part.tag:.20}" for part in element[:9]) or "nothing"
        seen = f"{len(boxes)} bndbox" if boxes else "no bndbox"
        return NOT_A_BOX, f"it has {seen} among {tags}; expected one with {', '.join(_CORNERS)}, four finite numbers."
    texts = [boxes[0].findtext(tag) for tag in _CORNERS]
    numbers = [_number(text) for text in texts]
    if all(map(math.isfinite, numbers)):
        return numbers, ""
    seen = ", ".join(f"{tag} {short(text)}" for tag, text in zip(_CORNERS, texts, strict=True))
    return NOT_A_BOX, f"its bndbox has {seen}; expected four finite numbers."


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
