"""Read Pascal VOC's XML, one file an image: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from tasks import faults
from tasks.detection.annotations import Annotations
from tasks.detection.draft import NOT_A_BOX, Draft, finish, number_classes
from tasks.faults import Fault
from tasks.images import IMAGE_SUFFIXES

_OFFICIAL = re.compile(r"The VOC\d{4} Database")


class _Object(NamedTuple):
    """A box as its XML has it; `name` is None where it has none."""

    name: str | None
    box: tuple[float, ...]
    difficult: bool


class _Image(NamedTuple):
    """One XML file: (0, 0) is a size that it does not tell."""

    file: str
    source: str
    size: tuple[int, int]
    objects: list[_Object]


def read_voc(file: Path, class_names: Sequence[str] | None = None) -> tuple[Annotations, list[Fault]]:
    """Read the images of a VOC list, or a folder of XML files.

    Coordinates. The official sets count pixels from 1 and include the last, so their box covers `xmin - 1 .. xmax` in
    the coordinates we use (0 is the left edge of the first pixel); detectron2 reads them so, torchvision hands them out
    as they are. labelImg, CVAT and Roboflow write the same tags with 0 for the left edge. The files tell which they
    are: where `<source><database>` is `The VOC2007 Database` (or another year) 1 is taken from `xmin` and `ymin`,
    anywhere else the numbers stay as they are.

    `difficult` objects are marked as crowd: a detector is neither blamed nor praised for them, as in the challenge.

    Args:
        file: a list `ImageSets/Main/train.txt` (a name a line; the -1, 0 or 1 behind it in the lists of one class is
            passed over) with `Annotations/` and `JPEGImages/` two folders up; or a folder of XML files, whose images
            stand beside them or in a folder `JPEGImages` or `images` beside that one. The image of `0007.xml` is
            `0007` with any suffix, or else what `<filename>` says.
        class_names: names of the training split, which then number the labels; None takes the sorted names found.

    Raises:
        FileNotFoundError: `file` does not exist.
        ValueError: the list is empty, or the folder has no XML.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; expected a VOC list or a folder of XML files. Mend the path.")
    sources, folders = _of_folder(file) if file.is_dir() else _of_list(file)
    found: list[Fault] = []
    in_folder = {folder: _images_of(folder) for folder in folders if folder.is_dir()}
    images: list[_Image] = []
    for source in sources:
        try:
            root = ElementTree.parse(source).getroot()
        except FileNotFoundError:
            found.append(Fault(faults.MISSING_FILE, str(source), f"does not exist, but {file} lists it."))
        except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:  # the last two: unknown encodings
            found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(source), f"cannot be read: {error}; expected XML."))
        else:
            path = _image_file(source, root.findtext("filename"), in_folder) or folders[0] / f"{source.stem}.jpg"
            images.append(_Image(str(path.absolute()), str(source), _size(root), _objects(root)))

    objects = [item for image in images for item in image.objects]
    seen = sorted({item.name for item in objects if item.name is not None})
    categories = list(enumerate(seen if class_names is None else class_names, start=1))
    names, category_ids, _ = number_classes(categories, class_names)
    label_of = {name: label for label, name in enumerate(names, start=1)}
    counts = [len(image.objects) for image in images]
    annotations, of_boxes = finish(
        Draft(
            class_names=names,
            category_ids=category_ids,
            files=[image.file for image in images],
            image_ids=np.arange(1, len(images) + 1, dtype=np.int64),
            sizes=np.array([image.size for image in images], dtype=np.int64).reshape(-1, 2),
            titles=[f"image {os.path.basename(image.file)!r}" for image in images],
            sources=[image.source for image in images],
            image_of=np.repeat(np.arange(len(images), dtype=np.int64), counts),
            boxes=np.array([item.box for item in objects], dtype=np.float64).reshape(-1, 4),
            labels=np.array([label_of.get(item.name or "", 0) for item in objects], dtype=np.int64),
            categories=[item.name for item in objects],
            crowd=np.array([item.difficult for item in objects], dtype=np.bool_),
            areas=np.full(len(objects), np.nan),
            annotation_ids=np.arange(1, len(objects) + 1, dtype=np.int64),
            unit="object",
            places=np.array([i for count in counts for i in range(1, count + 1)], dtype=np.int64),
        )
    )
    return annotations, found + of_boxes


def _of_list(file: Path) -> tuple[list[Path], list[Path]]:
    """Return the XML files that a list names, and the folders of the images."""
    tree = file.absolute().parents[2] if len(file.absolute().parents) > 2 else file.absolute().parent
    names = []
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        name, _, flag = line.strip().rpartition(" ")
        names.append(name.strip() if name and flag in ("-1", "0", "1") else line.strip())
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"{file} lists no image; expected a name a line. Give the list of another split.")
    return [tree / "Annotations" / f"{name}.xml" for name in names], [tree / "JPEGImages"]


def _of_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    sources = sorted(folder.glob("*.xml"))
    if not sources:
        raise ValueError(f"{folder} has no *.xml; expected one VOC file an image. Give the folder that holds them.")
    above = folder.absolute().parent
    return sources, [folder.absolute(), above / "JPEGImages", above / "images"]


def _images_of(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their name, and by their name without suffix."""
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return {path.stem: path for path in images} | {path.name: path for path in images}


def _image_file(source: Path, name: str | None, in_folder: dict[Path, dict[str, Path]]) -> Path | None:
    """Find the image of an XML file by the name of the file, since renaming leaves `<filename>` behind."""
    for images in in_folder.values():
        if source.stem in images:
            return images[source.stem]
    name = (name or "").strip()
    candidates = [folder / name for folder in in_folder if name]
    return next((path for path in candidates if path.is_file()), candidates[0] if candidates else None)


def _size(root: ElementTree.Element) -> tuple[int, int]:
    height, width = (_number(root.findtext(f"size/{side}")) for side in ("height", "width"))
    return (int(height), int(width)) if height >= 1 and width >= 1 else (0, 0)


def _objects(root: ElementTree.Element) -> list[_Object]:
    first = 1 if _OFFICIAL.search(root.findtext("source/database") or "") else 0
    objects = []
    for element in root.findall("object"):
        corners = [_number(element.findtext(f"bndbox/{tag}")) for tag in ("xmin", "ymin", "xmax", "ymax")]
        box = (corners[0] - first, corners[1] - first, corners[2], corners[3])
        name = (element.findtext("name") or "").strip() or None
        objects.append(_Object(name, box, (element.findtext("difficult") or "").strip() == "1"))
    return objects


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return NOT_A_BOX[0]
