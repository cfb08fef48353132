"""Numbers of a DICOM data set, which may hold anything: text, too few, zero or NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydicom import Dataset

from vertebra.tasks.medical.scans import UnreadableScan

_COPY = "Copy the file again, or remove it from the data set."


def numbers(path: str, dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return the values of an attribute, None where it is absent or empty.

    Args:
        path: of the file.
        dataset: the whole file, or an item of a sequence.
        keyword: of the attribute.
        count: how many values it has.

    Raises:
        UnreadableScan: there are more or fewer, or one is not a finite number.
    """
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        values = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
        found = tuple(float(one) for one in values)
    except (TypeError, ValueError, ArithmeticError) as error:  # pydicom converts text when it is asked for
        reason = " ".join(str(error).split())
        raise UnreadableScan(f"{path}: its {keyword} is no number ({reason:.100}). {_COPY}") from error
    if not found:
        return None
    if len(found) != count or not all(map(math.isfinite, found)):
        raise UnreadableScan(
            f"{path}: its {keyword} is {list(found)}; expected {count} finite number{'s' if count > 1 else ''}. {_COPY}"
        )
    return found


def whole(path: str, dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """Return a whole number above 0.

    Args:
        path: of the file.
        dataset: the whole file, or an item of a sequence.
        keyword: of the attribute.
        default: what an absent attribute means; None where it must be there.

    Raises:
        UnreadableScan: it is absent, or anything else.
    """
    found = numbers(path, dataset, keyword, 1)
    if found is None and default is not None:
        return default
    if found is None or found[0] < 1 or not found[0].is_integer():
        seen = "absent" if found is None else f"{found[0]:g}"
        raise UnreadableScan(f"{path}: its {keyword} is {seen}; expected a whole number above 0. {_COPY}")
    return int(found[0])


def spacing_of(path: str, dataset: Dataset, *keywords: str) -> tuple[float, float] | None:
    """Return the distance of rows and that of columns in mm, of the first attribute that is there, else None.

    Raises:
        UnreadableScan: it is zero, negative or no number.
    """
    for keyword in keywords:
        found = numbers(path, dataset, keyword, 2)
        if found is not None:
            if min(found) <= 0:
                raise UnreadableScan(
                    f"{path}: its {keyword} is {list(found)} mm; expected lengths above 0. Export the file again, or "
                    "remove it from the data set."
                )
            return found[0], found[1]
    return None
