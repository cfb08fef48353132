"""Whether a data set has a mask for each object, seen from its first files."""

from __future__ import annotations

from pathlib import Path

from vertebra.tasks.detection.formats import coco, labelme, yolo
from vertebra.tasks.detection.formats.labelme_json import read_labelme_json
from vertebra.tasks.detection.formats.voc_masks import FOLDER
from vertebra.tasks.detection.formats.yolo_labels import label_files, read_lines
from vertebra.tasks.detection.formats.yolo_yaml import find_split, load_yaml
from vertebra.tasks.loading.coco.content import mentions_outlines
from vertebra.tasks.loading.formats import Source

_GLANCE = 20  # files


def shows_outlines(source: Source) -> bool:
    """Return whether the objects of a split have outlines; a split that cannot be read has none."""
    try:
        if coco.COCO.matches(source.path):
            return mentions_outlines(source.path)
        if yolo.YOLO.matches(source.path):
            return _of_yolo(source)
        return labelme.LABELME.matches(source.path) and _of_labelme(source.path)
    except (ValueError, FileNotFoundError):  # which the reader reports
        return False


def mask_lists(path: Path) -> list[Source]:
    """Return the lists of images that have masks of objects in a tree of Pascal VOC, or one of them."""
    if path.is_dir():
        lists = sorted(path.glob("ImageSets/Segmentation/*.txt")) if (path / FOLDER).is_dir() else []
        return [Source(file) for file in lists]
    is_list = path.suffix.lower() == ".txt" and path.parent.name == "Segmentation"
    return [Source(path)] if is_list and (path.absolute().parents[2] / FOLDER).is_dir() else []


def _of_yolo(source: Source) -> bool:
    files = label_files(find_split(load_yaml(source.path), source.path, source.split or "train").images)
    some = [file for file in files if file is not None][:_GLANCE]
    lines = [line for file in some for line in read_lines(file, with_outlines=True)]
    return bool(lines) and all(line.polygons for line in lines)


def _of_labelme(folder: Path) -> bool:
    files = sorted(file for file in folder.glob("*.json") if not file.name.startswith("."))[:_GLANCE]
    objects = [each for file in files for each in read_labelme_json(file).objects]
    return bool(objects) and all(each.outline for each in objects)
