"""COCO detection format: boxes of an annotation file, https://cocodataset.org/#format-data."""

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
from vertebra.tasks.loading.coco.boxes import look_like_corners, read_area, read_boxes
from vertebra.tasks.loading.coco.content import looks_like_coco, read_content
from vertebra.tasks.loading.coco.exports import brush_masks
from vertebra.tasks.loading.coco.image_folder import FOLDER_FLAGS, find_image_folder
from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source, splits_in


def read_coco(
    file: Path,
    images: Path | None = None,
    class_names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    masks: bool | None = False,
) -> tuple[Annotations, list[Fault]]:
    """Read the boxes of a COCO file; what cannot be used becomes a fault and not a box.

    Of images and categories that share an id the first counts; boxes of one annotation id all stay. An
    annotation without `bbox` gets the box around its polygons or run lengths.

    Args:
        file: the JSON. Ids of categories may have gaps; keys beyond COCO's are passed over.
        images: the folder that file names are relative to; None looks for it around the JSON.
        class_names: names of the training split, which then number the labels; None numbers them by category id.
        orientation: in which frame the boxes of images with an EXIF rotation are, see `find_frames`.
        masks: whether to draw outlines, see `BoxOptions`.

    Raises:
        FileNotFoundError: the JSON does not exist, or no folder around it has its images.
        ValueError: the file is not JSON, or not COCO's.
    """
    content = read_content(file)
    masks = content.has_outlines if masks is None else masks
    names, class_ids, label_of = number_classes(sorted(content.categories.items()), class_names)
    folder = os.path.abspath(images if images is not None else find_image_folder(file, content.file_names))
    paths = [os.path.normpath(os.path.join(folder, name)) for name in content.file_names]
    outside = find_outside(file, paths, [folder, _root(file, folder)], f"give a folder above it: {FOLDER_FLAGS}")
    kept = [i for i in range(len(paths)) if i not in outside]
    files = [paths[i] for i in kept]
    headers, unread = read_headers(files)
    found = [*content.faults, *outside.values(), *content.size_faults.values()]
    # missing files are counted once the split is loaded, and by `vertebra check` with the pixels
    found += [fault for fault in unread.values() if fault.kind != faults.MISSING_FILE]

    index_of = np.full(len(paths) + 1, -1, dtype=np.int64)  # the last for annotations of unknown images
    index_of[kept] = np.arange(len(kept))
    image_of = index_of[content.image_of]
    usable = np.flatnonzero(image_of >= 0)
    image_of, sizes = image_of[usable], content.sizes[kept]
    records = [content.annotations[i] for i in usable]
    boxes, no_boxes = read_boxes(records, sizes[image_of])
    if evidence := look_like_corners(boxes, sizes[image_of]):
        found.append(Fault(faults.CORNER_BOXES, str(file), evidence))
    with np.errstate(over="ignore", invalid="ignore"):  # of boxes that are not finite
        boxes[:, 2:] += boxes[:, :2]
    brushed = brush_masks(records)
    if brushed.any():
        message = (
            f"{brushed.sum()} masks are marked as crowds, as CVAT marks all that its brush draws; they are taken as "
            "objects. Set iscrowd to 0, or remove `attributes` of what is a crowd."
        )
        found.append(Fault(faults.BRUSH_MASKS, str(file), message))
    categories = [content.category_ids[i] for i in usable]
    annotation_ids = np.array(content.annotation_ids, dtype=np.int64)[usable]
    annotations, of_boxes = validate(
        RawAnnotations(
            class_names=names,
            category_ids=class_ids,
            files=files,
            image_ids=np.array(content.image_ids, dtype=np.int64)[kept],
            sizes=sizes,
            headers=headers,
            titles=[content.title(i) for i in kept],
            sources=[str(file)] * len(kept),
            image_of=image_of,
            instances=Instances(
                boxes=boxes,
                labels=np.array([label_of.get(number, 0) for number in categories], dtype=np.int64),
                crowd=np.array([bool(record.get("iscrowd")) for record in records], dtype=np.bool_) & ~brushed,
                areas=np.array([read_area(record) for record in records], dtype=np.float64),
                ids=annotation_ids,
            ),
            in_fractions=False,
            no_boxes=no_boxes,
            categories=[content.categories.get(number, number) for number in categories],
            unit="annotation",
            positions=annotation_ids,
            outlines=[record.get("segmentation") for record in records] if masks else None,
        ),
        orientation,
    )
    return annotations, found + of_boxes


def _root(file: Path, folder: str) -> Path:
    """Return the folder that holds the data set: that of the JSON, or the one above where the images are in that."""
    here = file.absolute().parent
    return here if Path(folder).is_relative_to(here) or not Path(folder).is_relative_to(here.parent) else here.parent


def _find(wanted: Source, options: Any) -> list[Source]:
    path = wanted.path
    if path.is_file():
        return [Source(path, files=wanted.files)] if _matches(path) else []
    folders = (path, path / "annotations", *splits_in(path))  # the last as Roboflow has them
    inside = [file for folder in folders for file in sorted(folder.glob("*.json")) if not file.name.startswith(".")]
    found = [file for file in inside if looks_like_coco(file)]
    # an empty file beside others is a split that could not be written, and passed over, another would be trained on
    return [Source(file, files=wanted.files) for file in inside if file in found or (found and _is_empty(file))]


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _read(source: Source, options: BoxOptions, class_names: Sequence[str] | None) -> tuple[Annotations, list[Fault]]:
    return read_coco(source.path, source.files, class_names, options.orientation, options.masks)


COCO = Format("COCO's *.json", _matches, _find, _read)
