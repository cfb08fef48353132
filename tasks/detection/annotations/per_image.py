"""Annotations with a file for each image, as Pascal VOC's XML and labelme's JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.orientation import Orientation, read_headers
from vertebra.tasks.detection.annotations.raw_annotations import RawAnnotations, number_classes
from vertebra.tasks.detection.annotations.validate import validate
from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault


class FileObject(NamedTuple):
    """Object as the file of its image has it.

    Attributes:
        number: its position in the file, from 1.
        name: of the class; None where there is none.
        box: xyxy in pixels, `NOT_A_BOX` where there are no four numbers.
        reason: why there are none.
        crowd: whether a detector is neither blamed nor praised for it.
        outline: as COCO writes it; None where there is only a box.
    """

    number: int
    name: str | None
    box: Sequence[float]
    reason: str = ""
    crowd: bool = False
    outline: Any = None


class FileContent(NamedTuple):
    """Content of the file of an image.

    Attributes:
        image: name or relative path of the image, which may have been renamed since; empty where it is not stated.
        size: height and width; 0 and 0 where they are not stated or unusable.
        size_fault: why they are unusable; empty where they are not.
        objects: in the order of the file.
    """

    image: str
    size: tuple[int, int]
    size_fault: str
    objects: list[FileObject]


class AnnotationFile(NamedTuple):
    """File of an image.

    Attributes:
        source: the file.
        image: absolute path of the image.
        content: what the file holds.
    """

    source: Path
    image: str
    content: FileContent


def files_within(
    files: Sequence[AnnotationFile], origin: Path, roots: Sequence[Path], remedy: str
) -> tuple[list[AnnotationFile], list[Fault]]:
    """Leave out files whose image is outside the data set; arguments as of `find_outside`.

    Called before any image is read: a path outside may be a device.

    Returns:
        The others, and a fault for each that was left out.
    """
    outside = find_outside(origin, [each.image for each in files], roots, remedy)
    found = [fault._replace(file=str(files[i].source)) for i, fault in outside.items()]
    return [each for i, each in enumerate(files) if i not in outside], found


def annotations_of_files(
    files: Sequence[AnnotationFile],
    class_names: Sequence[str] | None,
    orientation: Orientation | None,
    masks: bool | None,
    unit: str,
) -> tuple[Annotations, list[Fault]]:
    """Read the headers of the images, and put the objects of all files together.

    Args:
        files: one for each image.
        class_names: names of the training split, which then number the labels; None takes the sorted names found.
        orientation: in which frame the boxes of images with an EXIF rotation are, see `find_frames`.
        masks: whether outlines are drawn; None draws them if there are any.
        unit: see `RawAnnotations`.

    Returns:
        The annotations without what cannot be used, and a fault for each of those.
    """
    contents = [each.content for each in files]
    images = [each.image for each in files]
    titles = [f"image {os.path.basename(path)!r}" for path in images]
    found = [
        Fault(faults.UNUSABLE_SIZE, str(each.source), f"{title}: {each.content.size_fault}")
        for each, title in zip(files, titles, strict=True)
        if each.content.size_fault
    ]
    headers, unread = read_headers(images)
    found += [fault for fault in unread.values() if fault.kind != faults.MISSING_FILE]

    objects = [item for content in contents for item in content.objects]
    names_found = sorted({item.name for item in objects if item.name is not None})
    categories = list(enumerate(names_found if class_names is None else class_names, start=1))
    names, category_ids, _ = number_classes(categories, class_names)
    label_of = {name: label for label, name in enumerate(names, start=1)}
    if masks is None:
        masks = any(item.outline for item in objects)
    annotations, of_boxes = validate(
        RawAnnotations(
            class_names=names,
            category_ids=category_ids,
            files=images,
            image_ids=np.arange(1, len(files) + 1, dtype=np.int64),
            sizes=np.array([content.size for content in contents], dtype=np.int64).reshape(-1, 2),
            headers=headers,
            titles=titles,
            sources=[str(each.source) for each in files],
            image_of=np.repeat(np.arange(len(files), dtype=np.int64), [len(content.objects) for content in contents]),
            instances=Instances(
                boxes=np.array([item.box for item in objects], dtype=np.float64).reshape(-1, 4),
                labels=np.array([label_of.get(item.name or "", 0) for item in objects], dtype=np.int64),
                crowd=np.array([item.crowd for item in objects], dtype=np.bool_),
                areas=np.full(len(objects), np.nan),  # not stated: that of the box counts
                ids=np.arange(1, len(objects) + 1, dtype=np.int64),
            ),
            in_fractions=False,
            no_boxes={i: item.reason for i, item in enumerate(objects) if item.reason},
            categories=[item.name for item in objects],
            unit=unit,
            positions=np.array([item.number for item in objects], dtype=np.int64),
            outlines=[item.outline for item in objects] if masks else None,
        ),
        orientation,
    )
    return annotations, found + of_boxes
