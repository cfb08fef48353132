"""Boxes of COCO annotations, `bbox` or the box around the outline, and their areas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from reprlib import repr as short
from typing import Any

import numpy as np

from vertebra.tasks.loading.coco.fields import Records
from vertebra.tasks.loading.files.run_lengths import box_of_runs, read_runs

_NO_BOX = (np.nan,) * 4
_EXPECTED = "expected four finite numbers x, y, width, height"


def read_area(record: dict[str, Any]) -> float:
    """Return the area of an object, NaN where it is not stated."""
    value = record.get("area")
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else np.nan


def read_boxes(records: Records, sizes: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """Return the boxes of annotations; where there is no `bbox`, the one around its outline.

    Args:
        records: M annotations.
        sizes: (M, 2) int64, height and width of the image of each, 0 where not known.

    Returns:
        (M, 4) float64 as COCO has them, xywh, NaN where there are no four numbers; why not, by the index of the
        annotation.
    """
    # all at once where every box is sound: a loop over a million is slow
    given = [record.get("bbox") for record in records]
    try:
        boxes = np.array(given)
    except ValueError:  # rows of unequal length
        boxes = np.empty(0)
    if boxes.shape == (len(records), 4) and boxes.dtype.kind in "iuf":  # numpy would read texts as numbers, too
        boxes = boxes.astype(np.float64)
        wrong = np.flatnonzero(~np.isfinite(boxes).all(axis=1)).tolist()
        return boxes, {i: f"the box is {short(given[i])}; {_EXPECTED}." for i in wrong}
    rows, reasons = [], {}
    for i, (record, size) in enumerate(zip(records, sizes.tolist(), strict=True)):
        try:
            rows.append(_read_box(record, (size[0], size[1])))
        except ValueError as error:
            rows.append(_NO_BOX)
            reasons[i] = f"{error}."
    return np.array(rows, dtype=np.float64).reshape(-1, 4), reasons


def look_like_corners(boxes: np.ndarray, sizes: np.ndarray) -> str:
    """Return the evidence that boxes (M, 4) are x1, y1, x2, y2 instead of xywh, empty where there is none.

    Corners always grow from left to right and fit into the image; of true widths and heights many are smaller than x
    and y. Read as xywh, most boxes right of the middle would stick out.
    """
    # a pixel of tolerance, since annotators round
    usable = np.isfinite(boxes).all(axis=1) & (sizes > 0).all(axis=1)
    first, second, limits = boxes[usable, :2], boxes[usable, 2:], sizes[usable, ::-1] + 1
    if len(first) < 2 or not ((second > first) & (second <= limits)).all():
        return ""
    sticking = int((first + second > limits).any(axis=1).sum())
    # a few true boxes may stick out; corners read as sizes do so in every second image
    if sticking < max(2, len(first) / 4):
        return ""
    return (
        f"{sticking} of {len(first)} boxes stick out of their images as x, y, width, height, and all of them fit as "
        "corners x1, y1, x2, y2. COCO has widths and heights: write x2 - x1 and y2 - y1 instead."
    )


def _read_box(record: Mapping[str, Any], size: tuple[int, int]) -> Sequence[float]:
    value = record.get("bbox")
    if value is None or value == []:
        outline = record.get("segmentation")
        if not outline:
            raise ValueError(f"it has no bbox and no segmentation; {_EXPECTED}")
        try:
            x1, y1, x2, y2 = _around(outline, size)
        except ValueError as error:
            raise ValueError(f"it has no bbox, and its segmentation cannot be used: {error}") from None
        return x1, y1, x2 - x1, y2 - y1
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_finite, value)):
        raise ValueError(f"the box is {short(value)}; {_EXPECTED}")
    return value


def _around(outline: Any, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the box (xyxy) around polygons or run lengths."""
    if isinstance(outline, dict):
        runs, height, width = read_runs(outline)
        if 0 not in size and (height, width) != size:
            raise ValueError(f"its size is {height} x {width}, that of the image {size[0]} x {size[1]}")
        box = box_of_runs(runs, height)
        if box is None:
            raise ValueError("its mask has no pixel")
        return box
    polygons = outline if isinstance(outline, list) else [outline]
    polygons = [polygons] if all(map(_is_finite, polygons)) else polygons  # some tools write the only one as it is
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(map(_is_finite, polygon)):
            raise ValueError(f"a polygon is {short(polygon)}; expected x and y of three or more corners")
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def _is_finite(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    )
