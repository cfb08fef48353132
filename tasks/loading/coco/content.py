"""Content of a COCO file: images, categories and annotations, with a fault for each record that is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from reprlib import repr as short
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from vertebra.tasks.loading.coco.exports import parent_categories
from vertebra.tasks.loading.coco.fields import (
    Records,
    read_annotation_ids,
    read_ids,
    read_size,
    reference,
    repeated_ids,
)
from vertebra.tasks.loading.coco.outlines import find_outline_fault
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile
from vertebra.tasks.loading.files.text_files import read_bytes

KEYS = ("images", "annotations", "categories")
# polygons or run lengths; data sets of boxes have [] or null, or a polygon without a corner
_OUTLINE = re.compile(rb'"segmentation"\s*:\s*(?:\{|\[\s*\[\s*[-\d])')


@dataclass(frozen=True)
class CocoContent:
    """I images, their categories, and M annotations.

    Of images and categories that share an id the first counts; annotations that share one all stay.

    Attributes:
        file: the JSON.
        categories: id -> name, without those that only group others.
        image_ids: of the I images.
        file_names: of the I images, relative to a folder that the file does not state.
        sizes: (I, 2) int64, height and width as stated, 0 where they are not stated or unusable.
        annotations: the M records as they are.
        annotation_ids: of the M records; those without an id are numbered by their position, from 1.
        image_of: (M,) int64 in 0..I-1, -1 where there is no such image.
        category_ids: what each record refers to: an id, or whatever the file has in its place.
        size_faults: of the images whose stated size is unusable, by their index.
        faults: all others but those of boxes, outlines and unknown categories.
    """

    file: Path
    categories: dict[Any, str]
    image_ids: list[int]
    file_names: list[str]
    sizes: np.ndarray
    annotations: Records
    annotation_ids: list[int]
    image_of: np.ndarray
    category_ids: list[Any]
    size_faults: dict[int, Fault]
    faults: list[Fault]

    @property
    def has_outlines(self) -> bool:
        """Whether any annotation has an outline; data sets of boxes have none, or empty ones."""
        return any(record.get("segmentation") for record in self.annotations)

    @cached_property
    def outline_faults(self) -> dict[int, Fault]:
        """The faults of outlines, by the index of the annotation; images without a size are passed over."""
        found = {}
        # without a size neither the border nor run lengths can be checked
        for i, (record, image) in enumerate(zip(self.annotations, self.image_of.tolist(), strict=True)):
            if image < 0 or not self.sizes[image].all():
                continue
            fault = find_outline_fault(record.get("segmentation"), *self.sizes[image].tolist())
            if fault is not None:
                found[i] = self.fault(i, fault.kind, fault.message)
        return found

    def title(self, image: int) -> str:
        """Return the name of an image in faults."""
        return f"image {self.file_names[image]!r} (id {self.image_ids[image]})"

    def fault(self, annotation: int, kind: str, message: str) -> Fault:
        """Return a fault of one annotation of a known image, with the image and the id."""
        title = self.title(int(self.image_of[annotation]))
        return Fault(kind, str(self.file), f"{title}, annotation {self.annotation_ids[annotation]}: {message}")


# contents that a caller still holds, by path, time of change and size: large files take minutes to parse
_HELD: WeakValueDictionary[tuple[str, int, int], CocoContent] = WeakValueDictionary()


def read_content(file: Path) -> CocoContent:
    """Read a COCO file. Ids may have gaps, keys beyond COCO's are passed over.

    A content that is still in use is returned again, and must not be changed.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not JSON, or not COCO's.
    """
    if not file.is_file():
        return _parse(file)  # which raises with the reason
    state = file.stat()
    key = (str(file.absolute()), state.st_mtime_ns, state.st_size)
    content = _HELD.get(key)
    if content is None:
        content = _HELD[key] = _parse(file)
    return content


def _parse(file: Path) -> CocoContent:
    content = _load(file)
    numbers = read_ids(content["categories"], "categories", file)
    names, found = _category_names(content["categories"], numbers, file)
    found += repeated_ids(file, "category", content["categories"], numbers, faults.DUPLICATE_CATEGORY)
    found += _repeated_names(file, numbers, names)

    every_id = read_ids(content["images"], "images", file)
    file_names = _file_names(content["images"], file)
    found += repeated_ids(file, "image", content["images"], every_id, faults.DUPLICATE_ID)
    # reversed, so that of images with one id the first stays
    first = {number: i for i, number in reversed(list(enumerate(every_id)))}
    kept = sorted(first.values())
    index_of: dict[Any, int] = {every_id[i]: index for index, i in enumerate(kept)}

    annotations = content["annotations"]
    annotation_ids, unnumbered = read_annotation_ids(annotations, file)
    found += unnumbered
    found += repeated_ids(file, "annotation", annotations, annotation_ids, faults.DUPLICATE_ID)
    references = [reference(record, "image_id") for record in annotations]
    # an array and not the references: of a million annotations it is what the tasks compute with
    image_of = np.array([index_of.get(image, -1) for image in references], dtype=np.int64)
    for i in np.flatnonzero(image_of < 0).tolist():
        message = f"annotation {annotation_ids[i]} is of image id {references[i]!r:.80}, which is not among the images."
        found.append(Fault(faults.UNKNOWN_IMAGE, str(file), message))

    sizes = [read_size(content["images"][i]) for i in kept]
    category_ids = [reference(record, "category_id") for record in annotations]
    named = zip(reversed(numbers), reversed(names), strict=True)  # reversed, so that of one id the first stays
    parents = parent_categories(content["categories"], numbers, set(category_ids))
    result = CocoContent(
        file=file,
        categories={number: name for number, name in named if number not in parents},
        image_ids=[every_id[i] for i in kept],
        file_names=[file_names[i] for i in kept],
        sizes=np.array([size for size, _ in sizes], dtype=np.int64).reshape(-1, 2),
        annotations=annotations,
        annotation_ids=annotation_ids,
        image_of=image_of,
        category_ids=category_ids,
        size_faults={},  # filled below: their titles are those of the content
        faults=found,
    )
    for image, (_, reason) in enumerate(sizes):
        if reason:
            message = f"{result.title(image)}: {reason}"
            result.size_faults[image] = Fault(faults.UNUSABLE_SIZE, str(file), message)
    return result


def mentions_outlines(file: Path) -> bool:
    """Return whether an annotation of a COCO file has an outline, at a glance, without parsing what may be huge."""
    try:
        return _OUTLINE.search(read_bytes(file)) is not None
    except ValueError:  # a folder, a pipe
        return False


def looks_like_coco(file: Path) -> bool:
    """Return whether JSON has the keys of annotations, unlike COCO's captions, without parsing what may be huge.

    A file that ends in the middle, such as a download that failed, has some of them.
    """
    try:
        content = read_bytes(file)
    except ValueError:  # a folder, a pipe
        return False
    present = [f'"{key}"'.encode() in content for key in KEYS]
    return all(present) or (any(present) and content.rstrip()[-1:] not in (b"}", b"]"))


def _load(file: Path) -> dict[str, Records]:
    try:
        # bytes and not text: json detects UTF-8, UTF-16 and a byte-order mark by itself
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
            f"{file} {seen}; a COCO annotation file is an object with the lists {', '.join(KEYS)}. Give another file."
        )
    # checked once here, so that no reader of a field meets a number or a list in place of a record
    for key in KEYS:
        for i, record in enumerate(content[key]):
            if not isinstance(record, dict):
                raise ValueError(f"{file}: {key}[{i}] is {short(record)}; expected an object. Correct or drop it.")
    return content


def _category_names(records: Records, ids: Sequence[int], file: Path) -> tuple[list[str], list[Fault]]:
    """Return the names without blanks around them; one that is null or blank is a fault, and stays the empty text."""
    names, found = [], []
    for i, (record, number) in enumerate(zip(records, ids, strict=True)):
        name = record.get("name")
        # numbers are names in many files of digits; True is a slip
        if isinstance(name, bool) or not isinstance(name, str | int | None):
            raise ValueError(f"{file}: categories[{i}] has the name {short(name)}; expected a text. Fill it in.")
        names.append("" if name is None else str(name).strip())
        if not names[-1]:
            message = f"category {number} has the name {name!r:.40}; expected a text. Name it."
            found.append(Fault(faults.EMPTY_NAME, str(file), message))
    return names, found


def _repeated_names(file: Path, ids: Sequence[int], names: Sequence[str]) -> Iterator[Fault]:
    ids_of: dict[str, dict[int, None]] = {}
    for number, name in zip(ids, names, strict=True):
        ids_of.setdefault(name, {})[number] = None
    for name, numbers in ids_of.items():
        if len(numbers) > 1:
            listed = ", ".join(map(str, sorted(numbers)[:20]))
            message = f"category {name!r:.80} has the ids {listed}, and is taken as one class; expected one id."
            yield Fault(faults.DUPLICATE_CATEGORY, str(file), message)


def _file_names(records: Records, file: Path) -> list[str]:
    for i, record in enumerate(records):
        if not isinstance(record.get("file_name"), str):
            seen = short(record.get("file_name"))
            raise ValueError(f"{file}: images[{i}] has the file_name {seen}; expected a text. Fill it in.")
    # an export made on Windows may have backslashes
    return [record["file_name"].replace("\\", "/") for record in records]
