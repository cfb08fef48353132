"""COCO run-length encoding of masks: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h."""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST = 1 << 31  # pixels of a mask; pycocotools' counts have 32 bits


def read_runs(value: Any) -> tuple[np.ndarray, int, int]:
    """Read run lengths, plain or compressed, and validate them before any mask is allocated.

    pycocotools reads compressed counts past their end and divides by an unchecked height, which crashes the process;
    hence input from files is validated here first.

    Args:
        value: an object with `size` (height, width) and `counts`: numbers, or text.

    Returns:
        (R,) int64, lengths of alternating runs of background and object in column-major order; height; width.

    Raises:
        ValueError: the value is invalid; the message does not name a file.
    """
    if not isinstance(value, dict) or "counts" not in value:
        raise ValueError("it is not an object with size and counts")
    size = value.get("size")
    if not isinstance(size, list) or len(size) != 2 or any(type(side) is not int for side in size):
        raise ValueError(f"its size is {size!r:.60}; expected height and width")
    height, width = size
    if not (0 < height < LARGEST and 0 < width < LARGEST and height * width < LARGEST):
        raise ValueError(f"its size is {size!r:.60}; expected a height and width of at least 1, and an image's")
    counts = value["counts"]
    runs = _decompressed(counts) if isinstance(counts, str) else _plain(counts)
    total = int(runs.sum())
    if total != height * width:
        raise ValueError(f"its counts cover {total} pixels; its size {height} x {width} has {height * width}")
    return runs, height, width


def box_of_runs(runs: np.ndarray, height: int) -> tuple[float, float, float, float] | None:
    """Return the bounding box (xyxy) of the object, or None for an empty mask.

    Args:
        runs: (R,) int64 of `read_runs`.
        height: height of the mask; runs are column-major.
    """
    ends = runs.cumsum()[1::2]
    starts = ends - runs[1::2]
    starts, lasts = starts[ends > starts], ends[ends > starts] - 1
    if not len(starts):
        return None
    left, right = starts // height, lasts // height
    wraps = left < right  # a run that continues in the next column touches the bottom and the top
    top = np.where(wraps, 0, starts % height).min()
    bottom = np.where(wraps, height - 1, lasts % height).max()
    return float(left.min()), float(top), float(right.max()) + 1, float(bottom) + 1


def _plain(counts: Any) -> np.ndarray:
    numbers = counts if isinstance(counts, list) else [None]
    if any(type(number) is not int or not 0 <= number < LARGEST for number in numbers):
        raise ValueError("its counts are not all integers of at least 0")
    return np.array(numbers, dtype=np.int64)


def _decompressed(text: str) -> np.ndarray:
    """Decode base-32 numbers, lowest digit first; from the fourth on, each is the difference to the last but one."""
    runs: list[int] = []
    number = shift = 0
    for letter in text:
        digit = ord(letter) - 48
        if not 0 <= digit < 64 or shift > 30:
            raise ValueError(f"its counts have the character {letter!r}, which is not valid in COCO's encoding")
        number |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            number -= 1 << shift
        if len(runs) > 2:
            number += runs[-2]
        if not 0 <= number < LARGEST:
            raise ValueError(f"its counts have a run of {number} pixels")
        runs.append(number)
        number = shift = 0
    if shift:
        raise ValueError("its counts end within a number")
    return np.array(runs, dtype=np.int64)
