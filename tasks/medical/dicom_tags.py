"""Validated numeric attributes of a DICOM data set, where text, wrong counts, zero and NaN all occur."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydicom import Dataset

from vertebra.tasks.medical.scans import UnreadableScan

_COPY = "Copy the file again, or remove it from the data set."


def float_values(path: str, dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return the values of an attribute, None if it is absent or empty.

    Args:
        path: file path, for messages.
        dataset: whole file, or an item of a sequence.
        keyword: DICOM keyword.
        count: value multiplicity.

    Raises:
        UnreadableScan: the number of values differs, or a value is not a finite number.
    """
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        # a single value is a scalar; a string is also a Sequence
        values = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
        found = tuple(float(one) for one in values)
    except (TypeError, ValueError, ArithmeticError) as error:  # pydicom converts text at first access
        reason = " ".join(str(error).split())
        raise UnreadableScan(f"{path}: its {keyword} is not a number ({reason:.100}). {_COPY}") from error
    if not found:  # an empty list of values, which the standard allows for type 2 attributes
        return None
    if len(found) != count or not all(map(math.isfinite, found)):
        raise UnreadableScan(
            f"{path}: its {keyword} is {list(found)}; expected {count} finite number{'s' if count > 1 else ''}. {_COPY}"
        )
    return found


def positive_int(path: str, dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """Return a positive integer.

    Args:
        path: file path, for messages.
        dataset: whole file, or an item of a sequence.
        keyword: DICOM keyword.
        default: value of an absent attribute; None if the attribute is required.

    Raises:
        UnreadableScan: the attribute is absent without a default, or not a positive integer.
    """
    # through float: pydicom returns integer strings (IS) and binary integers as different types
    values = float_values(path, dataset, keyword, 1)
    if values is None and default is not None:
        return default
    if values is None or values[0] < 1 or not values[0].is_integer():
        found = "absent" if values is None else f"{values[0]:g}"
        raise UnreadableScan(f"{path}: its {keyword} is {found}; expected a positive integer. {_COPY}")
    return int(values[0])


def pixel_spacing(path: str, dataset: Dataset, *keywords: str) -> tuple[float, float] | None:
    """Return the distance of rows and the distance of columns in mm, from the first keyword present; None without any.

    Raises:
        UnreadableScan: a distance is zero, negative or not a number.
    """
    for keyword in keywords:
        values = float_values(path, dataset, keyword, 2)
        if values is not None:
            if min(values) <= 0:
                raise UnreadableScan(
                    f"{path}: its {keyword} is {list(values)} mm; expected positive distances. Export the file again, "
                    "or remove it from the data set."
                )
            return values[0], values[1]
    return None
