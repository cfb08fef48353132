"""Read COCO's JSON of boxes: https://cocodataset.org/#format-data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np

from vertebra.tasks.detection.annotations import Annotations
from vertebra.tasks.detection.coco_fields import (
    Records,
    look_like_corners,
    read_area,
    read_boxes,
    read_ids,
    read_size,
    reference,
    repeated_ids,
)
from vertebra.tasks.detection.instances import Instances
from vertebra.tasks.detection.orientation import Orientation, read_headers
from vertebra.tasks.detection.raw_annotations import RawAnnotations, number_classes
from vertebra.tasks.detection.validate import validate
from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile
from vertebra.tasks.loading.files.text_files import read_bytes

KEYS = ("images", "annotations", "categories")
FOLDER_FLAGS = "data.images in a configuration, --images of vertebra check"


def read_coco(
    file: Path,
    images: Path | None = None,
    class_names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
) -> tuple[Annotations, list[Fault]]:
    """Read a COCO file; what it says wrongly comes back as faults and not as boxes.

    Of images and categories that share an id the first counts; boxes of one annotation id all stay. An
    annotation without `bbox` gets the box around its polygons or run lengths.

    Args:
        file: the JSON. Ids of categories may have gaps; keys beyond COCO's are passed over.
        images: the folder that file names are relative to; None looks for it around the JSON.
        class_names: names of the training split, which then number the labels; None numbers them by category id.
        orientation: in which frame the boxes of images with an EXIF rotation are, see `find_frames`.

    Raises:
        FileNotFoundError: the JSON does not exist, or no folder around it has its images.
        ValueError: the file is not JSON, or not COCO's.
    """
    content = _load(file)
    category_ids = read_ids(content["categories"], "categories", file)
    category_names, found = _category_names(content["categories"], category_ids, file)
    found += repeated_ids(file, "category", content["categories"], category_ids, faults.DUPLICATE_CATEGORY)
    found += _repeated_names(file, category_ids, category_names)
    name_of: dict[Any, str] = dict(zip(reversed(category_ids), reversed(category_names), strict=True))
    names, class_ids, label_of = number_classes(sorted(name_of.items()), class_names)

    image_ids = read_ids(content["images"], "images", file)
    image_names = _file_names(content["images"], file)
    found += repeated_ids(file, "image", content["images"], image_ids, faults.DUPLICATE_ID)
    first = {number: i for i, number in reversed(list(enumerate(image_ids)))}
    kept = sorted(first.values())
    folder = os.path.abspath(images if images is not None else _find_folder(file, [image_names[i] for i in kept[:9]]))
    paths = {i: os.path.normpath(os.path.join(folder, image_names[i])) for i in kept}
    outside = find_outside(
        file, paths.values(), [folder, _root(file, folder)], f"give a folder above it: {FOLDER_FLAGS}"
    )
    found += outside.values()
    kept = [i for place, i in enumerate(kept) if place not in outside]
    index_of = {image_ids[i]: index for index, i in enumerate(kept)}
    files = [paths[i] for i in kept]
    titles = [f"image {image_names[i]!r} (id {image_ids[i]})" for i in kept]
    sizes, of_sizes = _sizes(file, [content["images"][i] for i in kept], titles)
    headers, unread = read_headers(files)
    found += [*of_sizes, *(fault for fault in unread.values() if fault.kind != faults.MISSING_FILE)]

    numbers = read_ids(content["annotations"], "annotations", file, start=1)
    found += repeated_ids(file, "annotation", content["annotations"], numbers, faults.DUPLICATE_ID)
    image_refs = [reference(record, "image_id") for record in content["annotations"]]
    found += _of_unknown_images(file, image_refs, numbers, first)
    placed = [i for i, image in enumerate(image_refs) if image in index_of]
    records = [content["annotations"][i] for i in placed]
    image_of = np.array([index_of[image_refs[i]] for i in placed], dtype=np.int64)
    boxes, no_boxes = read_boxes(records, sizes[image_of])
    if evidence := look_like_corners(boxes, sizes[image_of]):
        found.append(Fault(faults.CORNER_BOXES, str(file), evidence))
    with np.errstate(over="ignore", invalid="ignore"):  # of boxes that are not finite
        boxes[:, 2:] += boxes[:, :2]
    categories = [reference(record, "category_id") for record in records]
    annotation_ids = np.array([numbers[i] for i in placed], dtype=np.int64)
    annotations, of_boxes = validate(
        RawAnnotations(
            class_names=names,
            category_ids=class_ids,
            files=files,
            image_ids=np.array([image_ids[i] for i in kept], dtype=np.int64),
            sizes=sizes,
            headers=headers,
            titles=titles,
            sources=[str(file)] * len(kept),
            image_of=image_of,
            instances=Instances(
                boxes=boxes,
                labels=np.array([label_of.get(number, 0) for number in categories], dtype=np.int64),
                crowd=np.array([bool(record.get("iscrowd")) for record in records], dtype=np.bool_),
                areas=np.array([read_area(record) for record in records], dtype=np.float64),
                ids=annotation_ids,
            ),
            in_fractions=False,
            no_boxes=no_boxes,
            categories=[name_of.get(number, number) for number in categories],
            unit="annotation",
            positions=annotation_ids,
        ),
        orientation,
    )
    return annotations, found + of_boxes


def _load(file: Path) -> dict[str, Records]:
    try:
        content = json.loads(read_bytes(file))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}: line {error.lineno}, column {error.colno}: {error.msg}; expected JSON. Write the file again."
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: {error}; expected JSON in UTF-8. Write the file again.") from None
    except RecursionError:
        raise ValueError(
            f"{file}: lists or objects within each other are nested deeper than JSON can be read; expected COCO's "
            "images, annotations, categories. Write the file again."
        ) from None
    except UnreadableFile:
        raise
    except ValueError as error:  # Python refuses numbers of thousands of digits
        raise ValueError(f"{file}: {error}; expected numbers of 64 bits. Write the file again.") from None
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in KEYS):
        keys = ", ".join(short(key).strip("'") for key in list(content)[:9]) if isinstance(content, dict) else ""
        seen = f"has {keys or 'no keys'}" if isinstance(content, dict) else "is not an object"
        raise ValueError(
            f"{file} {seen}; a COCO file of boxes is an object with the lists {', '.join(KEYS)}. Give another file."
        )
    for key in KEYS:
        for i, record in enumerate(content[key]):
            if not isinstance(record, dict):
                raise ValueError(f"{file}: {key}[{i}] is {short(record)}; expected an object. Correct or drop it.")
    return content


def _category_names(records: Records, ids: Sequence[int], file: Path) -> tuple[list[str], list[Fault]]:
    """Return the names; one that is null or blank is a fault, and stays the empty text."""
    names, found = [], []
    for i, (record, number) in enumerate(zip(records, ids, strict=True)):
        name = record.get("name")
        if isinstance(name, bool) or not isinstance(name, str | int | None):
            raise ValueError(f"{file}: categories[{i}] has the name {short(name)}; expected a text. Fill it in.")
        names.append("" if name is None else str(name))
        if not names[-1].strip():
            message = f"category {number} has the name {name!r:.40}; expected a text. Name it."
            found.append(Fault(faults.EMPTY_NAME, str(file), message))
    return names, found


def _file_names(records: Records, file: Path) -> list[str]:
    for i, record in enumerate(records):
        if not isinstance(record.get("file_name"), str):
            seen = short(record.get("file_name"))
            raise ValueError(f"{file}: images[{i}] has the file_name {seen}; expected a text. Fill it in.")
    return [record["file_name"] for record in records]


def _sizes(file: Path, records: Records, titles: Sequence[str]) -> tuple[np.ndarray, list[Fault]]:
    """Return (I, 2) int64 height and width as stated, 0 where they are not, and the faults of those that are wrong."""
    sizes, found = [], []
    for record, title in zip(records, titles, strict=True):
        size, reason = read_size(record)
        sizes.append(size)
        if reason:
            found.append(Fault(faults.UNUSABLE_SIZE, str(file), f"{title}: {reason}"))
    return np.array(sizes, dtype=np.int64).reshape(-1, 2), found


def _repeated_names(file: Path, ids: Sequence[int], names: Sequence[str]) -> Iterator[Fault]:
    numbers_of: dict[str, dict[int, None]] = {}
    for number, name in zip(ids, names, strict=True):
        numbers_of.setdefault(name, {})[number] = None
    for name, numbers in numbers_of.items():
        if len(numbers) > 1:
            listed = ", ".join(map(str, sorted(numbers)[:20]))
            message = f"category {name!r:.80} has the ids {listed}, and is taken as one class; expected one id."
            yield Fault(faults.DUPLICATE_CATEGORY, str(file), message)


def _of_unknown_images(
    file: Path, images: Sequence[Any], numbers: Sequence[int], known: dict[int, int]
) -> Iterator[Fault]:
    for image, number in zip(images, numbers, strict=True):
        if image not in known:
            message = f"annotation {number} is of image id {image!r:.80}, which is not among the images."
            yield Fault(faults.UNKNOWN_IMAGE, str(file), message)


def _find_folder(file: Path, names: list[str]) -> Path:
    """Find the folder of the images around `file`: the first in which one of the file names exists."""
    above = file.absolute().parent.parent
    bases = (file.absolute().parent, above)
    splits = dict.fromkeys((file.stem.rpartition("_")[2], file.stem))  # instances_train2017 -> train2017
    folders = [base / "images" for base in bases]
    folders += [base / split for split in splits for base in (*bases, *folders[:2])]
    folders += bases
    for folder in folders:
        # os.path and not Path, which raises of a name that is too long
        if not names or any(os.path.isfile(os.path.join(folder, name)) for name in names):
            return folder
    raise FileNotFoundError(
        f"{file}: image {names[0]!r:.120} is in none of {', '.join(dict.fromkeys(map(str, folders)))}. "
        f"Name the folder that file names are relative to: {FOLDER_FLAGS}."
    )


def _root(file: Path, folder: str) -> Path:
    """Return the folder that holds the data set: that of the JSON, or the one above where the images are in that."""
    here = file.absolute().parent
    return here if Path(folder).is_relative_to(here) or not Path(folder).is_relative_to(here.parent) else here.parent
