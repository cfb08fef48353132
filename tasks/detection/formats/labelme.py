"""Read labelme's JSON, one file an image: https://github.com/wkentaro/labelme."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.orientation import Orientation, read_headers
from vertebra.tasks.detection.annotations.raw_annotations import RawAnnotations, number_classes
from vertebra.tasks.detection.annotations.validate import validate
from vertebra.tasks.detection.formats.box_options import BoxOptions
from vertebra.tasks.detection.formats.images_folder import refuse_folder
from vertebra.tasks.detection.formats.labelme_json import LabelmeImage, looks_like_labelme, read_labelme_json
from vertebra.tasks.loading.data_root import find_outside
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
    files = [path for _, path, _ in read]
    # before any header is read: a path outside may be a device
    root = folder.absolute().parent
    outside = find_outside(folder, files, [root], "put the images beside the JSON, or into a folder beside its own")
    found += [fault._replace(file=str(read[i][0])) for i, fault in outside.items()]
    read = [one for i, one in enumerate(read) if i not in outside]
    files = [path for _, path, _ in read]
    titles = [f"image {os.path.basename(path)!r}" for path in files]
    for (source, _, image), title in zip(read, titles, strict=True):
        if image.size_fault:
            found.append(Fault(faults.UNUSABLE_SIZE, str(source), f"{title}: {image.size_fault}"))
    headers, unread = read_headers(files)
    found += [fault for fault in unread.values() if fault.kind != faults.MISSING_FILE]

    objects = [item for _, _, image in read for item in image.objects]
    names_found = sorted({item.label for item in objects if item.label is not None})
    categories = list(enumerate(names_found if class_names is None else class_names, start=1))
    names, category_ids, _ = number_classes(categories, class_names)
    label_of = {name: label for label, name in enumerate(names, start=1)}
    has_outlines = any(item.outline for item in objects)
    annotations, of_boxes = validate(
        RawAnnotations(
            class_names=names,
            category_ids=category_ids,
            files=files,
            image_ids=np.arange(1, len(read) + 1, dtype=np.int64),
            sizes=np.array([image.size for _, _, image in read], dtype=np.int64).reshape(-1, 2),
            headers=headers,
            titles=titles,
            sources=[str(source) for source, _, _ in read],
            image_of=np.repeat(np.arange(len(read), dtype=np.int64), [len(image.objects) for _, _, image in read]),
            instances=Instances(
                boxes=np.array([item.box for item in objects], dtype=np.float64).reshape(-1, 4),
                labels=np.array([label_of.get(item.label or "", 0) for item in objects], dtype=np.int64),
                crowd=np.zeros(len(objects), dtype=np.bool_),
                areas=np.full(len(objects), np.nan),
                ids=np.arange(1, len(objects) + 1, dtype=np.int64),
            ),
            in_fractions=False,
            no_boxes={i: item.reason for i, item in enumerate(objects) if item.reason},
            categories=[item.label for item in objects],
            unit="shape",
            positions=np.array([item.number for item in objects], dtype=np.int64),
            outlines=[item.outline for item in objects] if masks or (masks is None and has_outlines) else None,
        ),
        orientation,
    )
    return annotations, found + of_boxes


def _read_all(folder: Path) -> tuple[list[tuple[Path, str, LabelmeImage]], list[Fault]]:
    """Read every JSON of a folder; return source, path of the image and content, and the faults."""
    sources = _visible_json(folder)
    if not sources:
        raise ValueError(f"{folder} has no *.json; expected one of labelme's for each image. Give their folder.")
    read, found = [], []
    for source in sources:
        try:
            image = read_labelme_json(source)
        except ValueError as error:
            reason = str(error).removeprefix(f"{source}: ").removeprefix(f"{source} ")
            found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(source), reason))
        else:
            read.append((source, _image_of(source, image.path), image))
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
