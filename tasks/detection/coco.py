"""Read COCO's JSON of boxes: https://cocodataset.org/#format-data."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks import faults
from tasks.detection.annotations import Annotations
from tasks.detection.draft import NOT_A_BOX, Draft, finish, number_classes
from tasks.faults import Fault

KEYS = ("images", "annotations", "categories")
Records = list[dict[str, Any]]


def read_coco(
    file: Path, images: Path | None = None, class_names: Sequence[str] | None = None
) -> tuple[Annotations, list[Fault]]:
    """Read a COCO file; what it says wrongly comes back as faults and not as boxes.

    Of images and categories that stand twice under one id the first counts; boxes of one annotation id all stay.

    Args:
        file: the JSON. Ids of categories may have gaps; keys beyond COCO's are passed over.
        images: the folder that file names are relative to; None looks for it around the JSON.
        class_names: names of the training split, which then number the labels; None numbers them by category id.

    Raises:
        FileNotFoundError: the JSON does not exist, or no folder around it has its images.
        ValueError: the file is not JSON, or not COCO's.
    """
    content = _load(file)
    found: list[Fault] = []
    category_ids = _ids(content["categories"], "categories", file)
    category_names = _texts(content["categories"], "categories", "name", file)
    found += _repeated_ids(file, "category", category_ids, faults.DUPLICATE_CATEGORY)
    found += _repeated_names(file, category_ids, category_names)
    name_of: dict[Any, str] = dict(zip(reversed(category_ids), reversed(category_names), strict=True))
    names, class_ids, label_of = number_classes(sorted(name_of.items()), class_names)

    image_ids = _ids(content["images"], "images", file)
    image_names = _texts(content["images"], "images", "file_name", file)
    found += _repeated_ids(file, "image", image_ids, faults.DUPLICATE_ID)
    first = {number: i for i, number in reversed(list(enumerate(image_ids)))}
    kept = sorted(first.values())
    index_of = {image_ids[i]: index for index, i in enumerate(kept)}
    folder = os.path.abspath(images if images is not None else _find_folder(file, [image_names[i] for i in kept[:9]]))

    numbers = _ids(content["annotations"], "annotations", file, start=1)
    found += _repeated_ids(file, "annotation", numbers, faults.DUPLICATE_ID)
    found += _of_unknown_images(file, content["annotations"], numbers, index_of)
    pairs = zip(content["annotations"], numbers, strict=True)
    placed = [pair for pair in pairs if _reference(pair[0], "image_id") in index_of]
    records = [record for record, _ in placed]
    annotation_ids = np.array([number for _, number in placed], dtype=np.int64)
    boxes = _boxes(records)
    boxes[:, 2:] += boxes[:, :2]
    annotations, of_boxes = finish(
        Draft(
            class_names=names,
            category_ids=class_ids,
            files=[os.path.normpath(os.path.join(folder, image_names[i])) for i in kept],
            image_ids=np.array([image_ids[i] for i in kept], dtype=np.int64),
            sizes=np.array([_size(content["images"][i]) for i in kept], dtype=np.int64).reshape(-1, 2),
            titles=[f"image {image_names[i]!r} (id {image_ids[i]})" for i in kept],
            sources=[str(file)] * len(kept),
            image_of=np.array([index_of[record["image_id"]] for record in records], dtype=np.int64),
            boxes=boxes,
            labels=np.array([label_of.get(_reference(record, "category_id"), 0) for record in records], dtype=np.int64),
            categories=[
                name_of.get(number, number) for number in (_reference(record, "category_id") for record in records)
            ],
            crowd=np.array([bool(record.get("iscrowd")) for record in records], dtype=np.bool_),
            areas=np.array([_number(record.get("area")) for record in records], dtype=np.float64),
            annotation_ids=annotation_ids,
            unit="annotation",
            places=annotation_ids,
        )
    )
    return annotations, found + of_boxes


def _load(file: Path) -> dict[str, Records]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; expected a COCO JSON. Mend the path.")
    try:
        content = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}: line {error.lineno}, column {error.colno}: {error.msg}; expected JSON. Write the file again."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: {error}; expected JSON in UTF-8. Write the file again.") from error
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in KEYS):
        seen = f"has {', '.join(map(str, content)) or 'no keys'}" if isinstance(content, dict) else "is not an object"
        raise ValueError(
            f"{file} {seen}; a COCO file of boxes is an object with the lists {', '.join(KEYS)}. Give another file."
        )
    for key in KEYS:
        for i, record in enumerate(content[key]):
            if not isinstance(record, dict):
                raise ValueError(f"{file}: {key}[{i}] is {record!r}; expected an object. Mend or drop it.")
    return content


def _ids(records: Records, key: str, file: Path, start: int | None = None) -> list[int]:
    """Return the ids of the records; with `start`, a record without one is numbered by its place."""
    numbers = [record.get("id") for record in records]
    if start is not None:
        numbers = [i if number is None else number for i, number in enumerate(numbers, start)]
    for i, number in enumerate(numbers):
        if type(number) is not int:  # a bool is an int to isinstance
            raise ValueError(f"{file}: {key}[{i}] has the id {number!r}; expected a whole number. Number the {key}.")
    return numbers  # type: ignore[return-value]


def _texts(records: Records, key: str, field: str, file: Path) -> list[str]:
    for i, record in enumerate(records):
        if not isinstance(record.get(field), str):
            raise ValueError(f"{file}: {key}[{i}] has the {field} {record.get(field)!r}; expected a text. Fill it in.")
    return [record[field] for record in records]


def _reference(record: dict[str, Any], field: str) -> Any:
    """Return the id that a record refers to; a list or an object, which no lookup takes, as text."""
    value = record.get(field)
    return repr(value) if isinstance(value, list | dict) else value


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _size(record: dict[str, Any]) -> tuple[int, int]:
    """Return height and width of an image, 0 and 0 where the file does not say."""
    height, width = _number(record.get("height")), _number(record.get("width"))
    return (int(height), int(width)) if height >= 1 and width >= 1 else (0, 0)


def _boxes(records: Records) -> np.ndarray:
    """Return (M, 4) float64 as the file has them, xywh; `NOT_A_BOX` where it has not four numbers."""
    try:
        boxes = np.array([record.get("bbox") for record in records], dtype=np.float64)
    except (TypeError, ValueError):  # rows of unequal length, or something else than numbers
        boxes = np.empty(0)
    if boxes.shape == (len(records), 4):
        return boxes
    return np.array([_box(record.get("bbox")) for record in records], dtype=np.float64).reshape(-1, 4)


def _box(value: Any) -> Sequence[float]:
    numbers = [_number(part) for part in value] if isinstance(value, list) else []
    return numbers if len(numbers) == 4 else NOT_A_BOX


def _repeated_ids(file: Path, noun: str, ids: list[int], kind: str) -> Iterator[Fault]:
    if len(set(ids)) == len(ids):
        return
    for number, count in Counter(ids).items():
        if count > 1:
            yield Fault(kind, str(file), f"{noun} id {number} stands {count} times; expected once.")


def _repeated_names(file: Path, ids: list[int], names: list[str]) -> Iterator[Fault]:
    for name, count in Counter(names).items():
        numbers = sorted({number for number, other in zip(ids, names, strict=True) if other == name})
        if count > 1 and len(numbers) > 1:
            told = ", ".join(map(str, numbers))
            message = f"category {name!r} has the ids {told}, and is taken as one class; expected one id."
            yield Fault(faults.DUPLICATE_CATEGORY, str(file), message)


def _of_unknown_images(file: Path, records: Records, numbers: list[int], images: dict[int, int]) -> Iterator[Fault]:
    for record, number in zip(records, numbers, strict=True):
        if (image := _reference(record, "image_id")) not in images:
            message = f"annotation {number} is of image id {image!r}, which is not among the images."
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
        if not names or any((folder / name).is_file() for name in names):
            return folder
    raise FileNotFoundError(
        f"{file}: image {names[0]!r} is in none of {', '.join(dict.fromkeys(map(str, folders)))}. "
        "Name the folder that file names are relative to: data.images in a configuration, --images of vertebra check."
    )
