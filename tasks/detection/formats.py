"""Boxes in any of the three formats that people have: which one is told by what the source is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.detection.annotations import Annotations
from vertebra.tasks.detection.coco import read_coco
from vertebra.tasks.detection.orientation import Orientation
from vertebra.tasks.detection.voc import read_voc, visible_xml
from vertebra.tasks.detection.yolo import read_yolo
from vertebra.tasks.detection.yolo_yaml import SPLITS, load_yaml
from vertebra.tasks.loading.coco.content import looks_like_coco
from vertebra.tasks.loading.files.faults import Fault

_EXPECTED = "expected COCO's *.json, YOLO's data.yaml, or VOC's list *.txt or folder of *.xml"


def read_annotations(
    source: Path,
    images: Path | None = None,
    split: str = "train",
    class_names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
) -> tuple[Annotations, list[Fault]]:
    """Read the boxes of one split.

    Args:
        source: COCO's *.json, YOLO's *.yaml, VOC's list *.txt or folder of *.xml.
        images: the folder that COCO's file names are relative to; None looks for it around the JSON.
        split: the split of a YOLO source.
        class_names: names of the training split, which then number the labels; a category that is not among them is
            a fault. None numbers the classes that the source has.
        orientation: whether boxes of images with an EXIF rotation are in the frame that a viewer shows, or in that of
            the stored pixels; None decides by the boxes, see `find_frames`.

    Returns:
        The annotations without what cannot be used, and the faults that say what that was and where.

    Raises:
        FileNotFoundError: the source, or a folder that it needs, does not exist.
        ValueError: the source is none of the three formats, or cannot be read as the one it is.
    """
    if source.suffix.lower() == ".json":
        return read_coco(source, images, class_names, orientation)
    if images is not None:
        raise ValueError(
            f"images is {images}, but {source} says itself where its images are; only COCO's *.json takes such a "
            "folder. Leave images out."
        )
    if source.suffix.lower() in (".yaml", ".yml"):
        return read_yolo(source, split, class_names, orientation)
    if source.suffix.lower() == ".txt" or (source.is_dir() and visible_xml(source)):
        return read_voc(source, class_names, orientation)
    seen = "is a folder without *.xml" if source.is_dir() else "is neither" if source.exists() else "does not exist"
    raise ValueError(f"{source} {seen}; {_EXPECTED}. Give one of those.")


def find_sources(path: Path, split: str | None = None) -> list[tuple[Path, str]]:
    """List what `read_annotations` can read at a path: the sources with their splits; none where there is nothing.

    A YAML counts once for each of its splits, or for the wanted `split` alone. In a folder are found: XML files; else
    COCO files, there or in `annotations`; else a data.yaml; else the lists of VOC's `ImageSets/Main`.
    """
    suffix = path.suffix.lower()
    if path.is_file():
        if suffix in (".yaml", ".yml"):
            return [(path, name) for name in ([split] if split else _splits(path))]
        return [(path, split or "train")] if suffix in (".json", ".txt") else []
    if visible_xml(path):
        return [(path, split or "train")]
    inside = [file for folder in (path, path / "annotations") for file in sorted(folder.glob("*.json"))]
    inside = [file for file in inside if not file.name.startswith(".") and looks_like_coco(file)] or sorted(
        path.glob("data.y*ml")
    )
    # a VOC list of one class is called by class and split: cat_train.txt
    inside = inside or sorted(file for file in path.glob("ImageSets/Main/*.txt") if "_" not in file.name)
    return [source for file in inside for source in find_sources(file, split)]


def _splits(file: Path) -> list[str]:
    """Return the splits of a YOLO data set; of a broken YAML the first, so that its reader tells what is wrong."""
    try:
        content = load_yaml(file)
    except ValueError:
        return ["train"]
    return [name for name in SPLITS if content.get(name)] or ["train"]
