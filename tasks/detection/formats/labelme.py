"""Read labelme's JSON, one file an image: https://github.com/wkentaro/labelme."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.orientation import Orientation
from vertebra.tasks.detection.annotations.per_image import AnnotationFile, annotations_of_files, files_within
from vertebra.tasks.detection.formats.box_options import BoxOptions
from vertebra.tasks.detection.formats.images_folder import refuse_folder
from vertebra.tasks.detection.formats.labelme_json import looks_like_labelme, read_labelme_json
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.formats import Format, Source, splits_in


def read_labelme(
    folder: Path,
    class_names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    masks: bool | None = False,
) -> tuple[Annotations, list[Fault]]:
    """Read a folder of labelme's JSON.

    Polygons, circles and masks are outlines; a rectangle is a box without one. Shapes of one label and `group_id` are
    parts of one object. The image is where `imagePath` says, or beside the JSON under its name.

    Args:
        folder: of the files.
        class_names: names of the training split, which then number the labels; None takes the sorted labels found.
        orientation: in which frame the shapes of images with an EXIF rotation are, see `find_frames`.
        masks: whether to draw outlines, see `BoxOptions`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has no JSON.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; expected one of labelme's *.json. Correct the path.")
    read, found = _read_all(folder)
    remedy = "put the images beside the JSON, or into a folder beside its own"
    read, outside = files_within(read, folder, [folder.absolute().parent], remedy)
    annotations, of_images = annotations_of_files(read, class_names, orientation, masks, unit="shape")
    return annotations, found + outside + of_images


def _read_all(folder: Path) -> tuple[list[AnnotationFile], list[Fault]]:
    """Read every JSON of a folder, and return the faults, too."""
    sources = _visible_json(folder)
    if not sources:
        raise ValueError(f"{folder} has no *.json; expected one of labelme's for each image. Give their folder.")
    read, found = [], []
    for source in sources:
        try:
            content = read_labelme_json(source)
        except ValueError as error:
            reason = str(error).removeprefix(f"{source}: ").removeprefix(f"{source} ")
            found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(source), reason))
        else:
            read.append(AnnotationFile(source, _image_of(source, content.image), content))
    return read, found


def _image_of(source: Path, stated: str) -> str:
    """Return the path of an image as its JSON states it, or by the name of the JSON where that is another's."""
    path = os.path.abspath(os.path.join(source.parent, stated))
    if os.path.isfile(path):
        return path
    beside = [source.with_name(os.path.basename(stated)), *(source.with_suffix(suffix) for suffix in IMAGE_SUFFIXES)]
    # os.path and not Path, which raises of a name that is too long
    return os.path.abspath(next((file for file in beside if os.path.isfile(file)), path))


def _visible_json(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _is_folder(path: Path) -> bool:
    # the first file decides: labelme's may hold their images, which are long
    return path.is_dir() and any(looks_like_labelme(file) for file in _visible_json(path)[:1])


def _find(wanted: Source, options: Any) -> list[Source]:
    folders = [wanted.path] if _is_folder(wanted.path) else splits_in(wanted.path) if wanted.path.is_dir() else []
    return [Source(folder) for folder in folders if _is_folder(folder)]


def _read(source: Source, options: BoxOptions, class_names: Sequence[str] | None) -> tuple[Annotations, list[Fault]]:
    refuse_folder(source)
    return read_labelme(source.path, class_names, options.orientation, options.masks)


LABELME = Format("labelme's folder of *.json", _is_folder, _find, _read)
