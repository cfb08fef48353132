"""The parts of a COCO file that masks are made of, checked record by record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.segmentation.outlines import OutlineFault, find_outline_fault

_TEXTS = {"images": "file_name", "categories": "name"}
_LARGEST = 1 << 20  # height and width of an image


class CocoContent(NamedTuple):
    """Content of a COCO file.

    Attributes:
        names: category id -> name.
        files: image id -> file name.
        sizes: image id -> (height, width), or None where the file has no two whole numbers.
        annotations: (id, image id, category id, segmentation) of each, None where a field is absent.
        faults: ids and names that come twice, names that are empty, sizes that are none.
    """

    names: dict[int, str]
    files: dict[int, str]
    sizes: dict[int, tuple[int, int] | None]
    annotations: list[tuple[Any, Any, Any, Any]]
    faults: list[Fault]

    @property
    def has_outlines(self) -> bool:
        """Whether any annotation has an outline; data sets of boxes have none, or empty ones."""
        return any(segmentation for *_, segmentation in self.annotations)

    def outline_faults(self) -> Iterator[tuple[int, OutlineFault]]:
        """Yield the place of each annotation with a faulty outline, and the fault."""
        for place, (_, image, _, segmentation) in enumerate(self.annotations):
            size = self.sizes.get(image)
            if size is not None and (fault := find_outline_fault(segmentation, *size)) is not None:
                yield place, fault

    def fault(self, file: Path, place: int, kind: str, message: str) -> Fault:
        """Return a fault of the annotation at `place`."""
        return Fault(kind, str(file), f"annotation {self.annotations[place][0]}: {message}")


def read_content(file: Path) -> CocoContent:
    """Read a COCO file; of images and categories that come twice under one id the first counts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or not COCO's.
    """
    content = _load(file)
    images, categories = ({each["id"]: each for each in reversed(content[key])} for key in _TEXTS)
    names = {number: each["name"].strip() for number, each in categories.items()}
    files = {number: each["file_name"] for number, each in reversed(images.items())}
    annotations = [
        (
            each.get("id", place),
            *(_plain(each.get(key)) for key in ("image_id", "category_id")),
            each.get("segmentation"),
        )
        for place, each in enumerate(content["annotations"], 1)
    ]
    sizes = {number: _size(each) for number, each in images.items()}
    found = [
        Fault(kind, str(file), f"{noun} id {number} is there {count} times; expected once.")
        for noun, kind, numbers in (
            ("category", faults.DUPLICATE_CATEGORY, [each["id"] for each in content["categories"]]),
            ("image", faults.DUPLICATE_ID, [each["id"] for each in content["images"]]),
            ("annotation", faults.DUPLICATE_ID, [_plain(number) for number, *_ in annotations]),
        )
        for number, count in Counter(numbers).items()
        if count > 1
    ]
    found += [
        Fault(faults.EMPTY_NAME, str(file), f"category id {number} has an empty name; name it.")
        for number, name in names.items()
        if not name
    ]
    for kind, texts, noun in (
        (faults.DUPLICATE_CATEGORY, names, "category"),
        (faults.DUPLICATE_FILE, files, "image"),
    ):
        for text, count in Counter(texts.values()).items():
            if text and count > 1:
                numbers = ", ".join(str(number) for number in sorted(texts) if texts[number] == text)
                found.append(Fault(kind, str(file), f"{noun} {text!r} has the ids {numbers}; expected one id."))
    for number, size in sizes.items():
        if size is None:
            seen = f"height {images[number].get('height')!r:.40} and width {images[number].get('width')!r:.40}"
            message = f"image {files[number]!r} (id {number}) has {seen}; expected whole numbers of at least 1."
            found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(file), message))
    return CocoContent(names, files, sizes, annotations, found)


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(file))
        for key in ("images", "annotations", "categories"):
            for place, each in enumerate(content[key]):
                if key in _TEXTS and (type(each["id"]) is not int or not isinstance(each[_TEXTS[key]], str)):
                    raise ValueError(f"{key}[{place}] is {each!r:.80}")
                each.get("segmentation")
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} does not exist; give COCO's annotation file, or a folder of masks.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else f"{error!s:.150}"
        raise ValueError(
            f"{file}: is no COCO file with outlines ({reason.removeprefix(f'{file}: ')}); expected are images with id "
            "and file_name, categories with id and name, and annotations with image_id, category_id and segmentation."
        ) from None
    return content


def _plain(value: Any) -> Any:
    """Return an id that annotations refer to; a list or an object, which no lookup takes, as text."""
    return repr(value) if isinstance(value, list | dict) else value


def _size(record: dict[str, Any]) -> tuple[int, int] | None:
    sides = []
    for value in (record.get("height"), record.get("width")):
        if (
            not isinstance(value, int | float) or not 1 <= value <= _LARGEST or value % 1
        ):  # 480.0 is a whole number, too
            return None
        sides.append(int(value))
    return sides[0], sides[1]
