"""Read Pascal VOC's XML, one file an image: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.orientation import Orientation
from vertebra.tasks.detection.annotations.per_image import AnnotationFile, annotations_of_files, files_within
from vertebra.tasks.detection.formats.box_options import BoxOptions
from vertebra.tasks.detection.formats.images_folder import refuse_folder
from vertebra.tasks.detection.formats.voc_masks import FOLDER as MASKS
from vertebra.tasks.detection.formats.voc_masks import box_of_mask, mask_file, read_object_masks
from vertebra.tasks.detection.formats.voc_xml import read_xml
from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.formats import Format, Source


class _Layout(NamedTuple):
    """Where the files are: XML files, folders of images, and the folders that hold them all."""

    sources: list[Path]
    folders: list[Path]
    roots: list[Path]


def read_voc(
    file: Path,
    class_names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    masks: bool | None = False,
) -> tuple[Annotations, list[Fault]]:
    """Read the images of a VOC list, or a folder of XML files.

    Coordinates. The official sets count pixels from 1 and include the last, so their box covers `xmin - 1 .. xmax` in
    the coordinates we use (0 is the left edge of the first pixel); detectron2 reads them so, torchvision hands them out
    as they are. labelImg, CVAT and Roboflow write the same tags with 0 for the left edge. The files say which they
    are: where `<source><database>` is `The VOC2007 Database` (or another year) 1 is taken from `xmin` and `ymin`,
    anywhere else the numbers stay as they are.

    `difficult` objects are marked as crowd: a detector is neither blamed nor praised for them, as in the challenge.

    Masks are those of `SegmentationObject`, whose values number the objects in the order of the XML; boxes then are
    those around the masks. Only the images that `ImageSets/Segmentation` lists have masks in the official sets.

    Args:
        file: a list `ImageSets/Main/train.txt` (a name a line; the -1, 0 or 1 behind it in the lists of one class is
            passed over) with `Annotations/` and `JPEGImages/` two folders up; or a folder of XML files, whose images
            are beside them or in a folder `JPEGImages`, `images` or `data` beside that one. The image of `0007.xml` is
            `0007` with any suffix, or else the file named in `<filename>`.
        class_names: names of the training split, which then number the labels; None takes the sorted names found.
        orientation: in which frame the boxes of images with an EXIF rotation are, see `find_frames`.
        masks: whether to read the masks, see `BoxOptions`; with None they are read if every image has them.

    Raises:
        FileNotFoundError: `file` does not exist.
        ValueError: the list is empty, or the folder has no XML.
    """
    if not file.exists():
        raise FileNotFoundError(
            f"{file} does not exist; expected a VOC list or a folder of XML files. Correct the path."
        )
    layout = _of_folder(file) if file.is_dir() else _of_list(file)
    read, found = _read_all(layout, file)
    read, outside = files_within(read, file, layout.roots, "give a list or folder beside its image")
    found += outside
    masks = all(mask_file(each.source).is_file() for each in read) if masks is None else masks
    if masks:
        read, of_masks = _with_masks(read)
        found += of_masks
    annotations, of_images = annotations_of_files(read, class_names, orientation, masks, unit="object")
    return annotations, found + of_images


def _read_all(layout: _Layout, file: Path) -> tuple[list[AnnotationFile], list[Fault]]:
    """Read every XML file and find its image, and return the faults, too."""
    outside = find_outside(file, layout.sources, layout.roots, "name files of this data set")
    found = list(outside.values())
    # listed once: a look at every suffix of every name is slow on network disks
    in_folder = {folder: _images_of(folder) for folder in layout.folders if folder.is_dir()}
    read = []
    for i, source in enumerate(layout.sources):
        if i in outside:
            continue
        try:
            content = read_xml(source)
        except FileNotFoundError:
            found.append(Fault(faults.MISSING_FILE, str(source), f"does not exist, but {file} lists it."))
        except ValueError as error:
            reason = str(error).removeprefix(f"{source}: ").rstrip(".")
            found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(source), f"{reason}. Replace or remove it."))
        else:
            path, others = _image_file(source, content.image, in_folder)
            if path and others:
                message = f"is of {path.name} and of {', '.join(others)}, too; expected one image. Rename the others."
                found.append(Fault(faults.SHARED_LABELS, str(source), message))
            path = (path or layout.folders[0] / f"{source.stem}.jpg").absolute()
            read.append(AnnotationFile(source, str(path), content))
    return read, found


def _with_masks(read: Sequence[AnnotationFile]) -> tuple[list[AnnotationFile], list[Fault]]:
    """Return those files of whose image masks can be read, with the outlines of their objects, and the faults."""
    kept, found = [], []
    for each in read:
        file, objects = mask_file(each.source), each.content.objects
        try:
            outlines = read_object_masks(file, len(objects))
        except FileNotFoundError:
            message = "does not exist, but data.masks needs it; ImageSets/Segmentation lists the images with masks."
            found.append(Fault(faults.MISSING_FILE, str(file), message))
        except ValueError as error:
            found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(file), f"{error}. Replace or remove it."))
        else:
            drawn = [
                item._replace(box=box_of_mask(item.box, outline), outline=outline)
                for item, outline in zip(objects, outlines, strict=True)
            ]
            kept.append(each._replace(content=each.content._replace(objects=drawn)))
    return kept, found


def _of_list(file: Path) -> _Layout:
    """Return the XML files that a list names, and where their images are."""
    # ImageSets/Main/train.txt: two folders up
    tree = file.absolute().parents[2] if len(file.absolute().parents) > 2 else file.absolute().parent
    names = []
    for line in read_text(file).splitlines():
        name, _, flag = line.strip().rpartition(" ")
        names.append(name.strip() if name and flag in ("-1", "0", "1") else line.strip())
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"{file} lists no image; expected a name a line. Give the list of another split.")
    if all(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
        raise ValueError(
            f"{file} lists paths of images, such as {names[0]!r:.80}, as YOLO's lists do; VOC's have names without an "
            "ending. Give the data.yaml that refers to this list."
        )
    return _Layout([tree / "Annotations" / f"{name}.xml" for name in names], [tree / "JPEGImages"], [tree])


def _of_folder(folder: Path) -> _Layout:
    # images beside the XML, as labelImg has them, or in the folders of VOC, Label Studio and FiftyOne
    sources = visible_xml(folder)
    if not sources:
        raise ValueError(f"{folder} has no *.xml; expected one VOC file an image. Give the folder that holds them.")
    above = folder.absolute().parent
    folders = [folder.absolute(), above / "JPEGImages", above / "images", above / "data"]
    return _Layout(sources, folders, folders)


def visible_xml(folder: Path) -> list[Path]:
    """List the XML files of a folder, without the hidden ones that macOS leaves beside them (`._0001.xml`)."""
    return sorted(path for path in folder.glob("*.xml") if not path.name.startswith("."))


def _images_of(folder: Path) -> dict[str, list[Path]]:
    """Return the images of a folder by their name, and by their name without suffix."""
    images: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            for key in (path.name, path.stem):
                images.setdefault(key, []).append(path)
    return images


def _image_file(source: Path, name: str, in_folder: dict[Path, dict[str, list[Path]]]) -> tuple[Path | None, list[str]]:
    """Find the image of an XML file by the name of the file, since renaming leaves `<filename>` behind.

    Returns:
        The image, None if it is ambiguous or missing; the names of other candidates.
    """
    for images in in_folder.values():
        if found := images.get(source.stem):
            if name in [path.name for path in found]:
                return found[[path.name for path in found].index(name)], []
            return found[0], [path.name for path in found[1:]]
    candidates = [folder / name for folder in in_folder if name]
    # os.path and not Path, which raises of a name that is too long
    return next((path for path in candidates if os.path.isfile(path)), candidates[0] if candidates else None), []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and bool(visible_xml(path))


def _is_list(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _find_folder(wanted: Source, options: Any) -> list[Source]:
    below = () if (wanted.path / "ImageSets").is_dir() else ("Annotations", "annotations", "labels")
    folders = (wanted.path, *(wanted.path / name for name in below))
    return next(([Source(folder)] for folder in folders if _is_folder(folder)), [])


def _find_lists(wanted: Source, options: Any) -> list[Source]:
    path = wanted.path
    if path.is_file():
        return [Source(path)] if _is_list(path) else []
    # the name of a list of one class has class and split: cat_train.txt
    return [Source(file) for file in sorted(path.glob("ImageSets/Main/*.txt")) if "_" not in file.name]


def _has_masks(path: Path) -> bool:
    folder = path.absolute()
    return (folder.parent / MASKS).is_dir() if path.is_dir() else (folder.parents[2] / MASKS).is_dir()


def _read(source: Source, options: BoxOptions, class_names: Sequence[str] | None) -> tuple[Annotations, list[Fault]]:
    refuse_folder(source)
    if options.masks and not _has_masks(source.path):
        raise ValueError(
            f"{source.path}: the XML of Pascal VOC has boxes and no outlines, and no folder {MASKS} is beside it; "
            "data.masks needs that, or the outlines of COCO, YOLO or labelme. Convert the annotations, or train on "
            "boxes with data.masks=false."
        )
    return read_voc(source.path, class_names, options.orientation, options.masks)


FOLDER = Format("VOC's folder of *.xml", _is_folder, _find_folder, _read)
LIST = Format("VOC's list *.txt", _is_list, _find_lists, _read)
