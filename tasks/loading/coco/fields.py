"""Fields of COCO records: ids, references and sizes, which may be anything that JSON can hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.image_headers import LARGEST_SIDE

Records = list[dict[str, Any]]
LARGEST_ID = 2**63 - 1


def whole_number(value: Any) -> int | None:
    """Return an id as a number: 7, 7.0 and "7" are one; None of what is no whole number of 64 bits."""
    # int() raises on text of thousands of digits, hence the limit
    is_text = isinstance(value, str) and value.strip().isdecimal() and len(value) < 30
    if type(value) is not int and not is_text and not (isinstance(value, float) and value.is_integer()):
        return None  # a bool is an int to isinstance
    return number if abs(number := int(value)) <= LARGEST_ID else None


def read_ids(records: Records, key: str, file: Path) -> list[int]:
    """Return the ids of images or categories.

    Raises:
        ValueError: an id is not a whole number, so that nothing can refer to it.
    """
    ids = []
    for i, record in enumerate(records):
        number = whole_number(record.get("id"))
        if number is None:
            raise ValueError(f"{file}: {key}[{i}] has {_unusable_id(record)} Number the {key}.")
        ids.append(number)
    return ids


def read_annotation_ids(records: Records, file: Path) -> tuple[list[int], list[Fault]]:
    """Return the ids of annotations; one without a usable id is numbered by its position, from 1."""
    ids, found = [], []
    for i, record in enumerate(records):
        number = whole_number(record.get("id"))
        if number is None and record.get("id") is not None:
            message = f"annotations[{i}] has {_unusable_id(record)} Number the annotations."
            # a fault and no error, unlike those of images: nothing refers to an annotation
            found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(file), message))
        ids.append(i + 1 if number is None else number)
    return ids, found


def reference(record: dict[str, Any], field: str) -> Any:
    """Return the id that a record refers to as a number, and as a short text what is no id."""
    value = record.get(field)
    if type(value) is int:  # nearly all, of a million
        return value
    number = whole_number(value)
    return number if number is not None else short(value) if isinstance(value, list | dict | bool) else value


def repeated_ids(file: Path, noun: str, records: Records, ids: Sequence[int], kind: str) -> Iterator[Fault]:
    """Find ids that occur more than once, also those that differ only in how they are written, such as "007" and 7."""
    if len(set(ids)) == len(ids):  # the usual case, without counting
        return
    counts = Counter(ids)
    written: dict[int, dict[str, None]] = {number: {} for number, count in counts.items() if count > 1}
    for record, number in zip(records, ids, strict=True):
        if number in written:
            written[number][short(record.get("id"))] = None
    for number, spellings in written.items():
        spelled = f", written as {', '.join(spellings)}" if len(spellings) > 1 else ""
        yield Fault(kind, str(file), f"{noun} id {number} is used {counts[number]} times{spelled}; expected once.")


def read_size(record: dict[str, Any]) -> tuple[tuple[int, int], str]:
    """Return height and width of an image, 0 and 0 where they are not stated or unusable, and why they are unusable."""
    sides = []
    for side in ("height", "width"):
        if side not in record:  # no fault: the image file has its size
            return (0, 0), ""
        value = record[side]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= LARGEST_SIDE or value % 1:
            return (0, 0), f"its {side} is {short(value)}; expected a number of pixels, such as 480. Correct it."
        sides.append(int(value))
    return (sides[0], sides[1]), ""


def _unusable_id(record: dict[str, Any]) -> str:
    return f"the id {short(record.get('id'))}; expected a whole number below 2^63."
