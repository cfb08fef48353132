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
    if isinstance(counts, str):
        # 32 bits a character: text of a file may hold any
        runs = decompressed(np.frombuffer(counts.encode("utf-32-le", "surrogatepass"), dtype="<u4"))
    else:
        runs = _plain(counts)
    total = int(runs.sum())
    if total != height * width:
        raise ValueError(f"its counts cover {total} pixels; its size {height} x {width} has {height * width}")
    return runs, height, width


def without_empty_runs(runs: np.ndarray) -> np.ndarray:
    """Join what runs without a pixel divide, all but the first: pycocotools' boxes of such masks are wrong."""
    if runs[1:].all():
        return runs
    is_object = np.arange(len(runs)) % 2 == 1
    is_object, lengths = is_object[runs > 0], runs[runs > 0]
    starts = np.flatnonzero(np.diff(is_object, prepend=~is_object[:1]))
    joined = np.add.reduceat(lengths, starts)
    return np.concatenate([[0], joined]) if is_object[0] else joined


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


def decompressed(codes: np.ndarray) -> np.ndarray:
    """Decode base-32 numbers, lowest digit first; from the fourth on, each is the difference to the last but one.

    Args:
        codes: (C,) unsigned, of the characters.

    Returns:
        (R,) int64 run lengths.

    Raises:
        ValueError: a character is not of the encoding, or a run is impossible.
    """
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    digits = codes.astype(np.int64) - 48
    goes_on = digits & 32 != 0
    index = np.arange(len(digits))
    is_first = np.concatenate([[True], ~goes_on[:-1]])
    shifts = 5 * (index - np.maximum.accumulate(np.where(is_first, index, 0)))
    wrong = (digits < 0) | (digits >= 64) | (shifts > 30)
    if wrong.any():
        letter = chr(codes[wrong.argmax()])
        raise ValueError(f"its counts have the character {letter!r}, which is not valid in COCO's encoding")
    if goes_on[-1]:
        raise ValueError("its counts end within a number")
    runs = np.add.reduceat((digits & 31) << shifts, np.flatnonzero(is_first))
    lasts = np.flatnonzero(~goes_on)
    runs -= np.where(digits[lasts] & 16, np.int64(32) << shifts[lasts], 0)  # a negative difference
    for parity in (1, 2):
        runs[parity::2] = np.cumsum(runs[parity::2])
    wrong = (runs < 0) | (runs >= LARGEST)
    if wrong.any():
        raise ValueError(f"its counts have a run of {runs[wrong.argmax()]} pixels")
    return runs
