"""The outline of one object as COCO writes it, polygons or run lengths: checked by its numbers, then drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.run_lengths import read_runs, without_empty_runs


class OutlineFault(NamedTuple):
    """What is wrong with an outline: a kind of `faults`, and a message without file and annotation."""

    kind: str
    message: str


def find_outline_fault(outline: Any, height: int, width: int) -> OutlineFault | None:
    """Return the fault of an outline, or None; no pixel is drawn for it.

    Args:
        outline: what an annotation has as its `segmentation`, None where it has nothing.
        height: of its image.
        width: of its image.
    """
    if outline in (None, [], {}, ""):
        return OutlineFault(faults.MISSING_OUTLINE, f"its outline is {outline!r}; draw it, or remove the annotation.")
    try:
        if isinstance(outline, dict):
            return _fault_of_runs(outline, height, width)
        return _fault_of_polygons([_corners(each, height, width) for each in _polygons(outline)], height, width)
    except ValueError as error:
        return OutlineFault(faults.UNREADABLE_ANNOTATIONS, f"its outline cannot be drawn: {error}.")


def draw_outline(outline: Any, height: int, width: int) -> np.ndarray:
    """Draw an outline without a fault, or with one that leaves nothing or a part of it to draw, as (H, W) bool."""
    return coco_mask.decode(encode_outline(outline, height, width)).astype(bool)


def encode_outline(outline: Any, height: int, width: int) -> dict[str, Any]:
    """Return pycocotools' compressed run lengths of an outline as `draw_outline` takes it."""
    if isinstance(outline, dict):
        runs, *_ = read_runs(outline)
        plain = {"size": [height, width], "counts": without_empty_runs(runs).tolist()}
        return coco_mask.frPyObjects(plain, height, width)
    corners = [_corners(polygon, height, width) for polygon in _polygons(outline)]
    drawn = [each.ravel().tolist() for each in corners if not _is_degenerate(each)]
    if not drawn:
        return empty_mask(height, width)
    parts = coco_mask.frPyObjects(drawn, height, width)
    return parts[0] if len(parts) == 1 else coco_mask.merge(parts)


def empty_mask(height: int, width: int) -> dict[str, Any]:
    """Return the run lengths of a mask without a pixel."""
    return coco_mask.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width)


def _polygons(outline: Any) -> list[Any]:
    if not isinstance(outline, list):
        raise ValueError(f"it is {outline!r:.60}; expected a list of polygons, or an object with size and counts")
    if all(isinstance(value, int | float) for value in outline):
        raise ValueError("its polygon is not within a list; write [[x, y, ...]], since an object may have several")
    return outline


def _corners(polygon: Any, height: int, width: int) -> np.ndarray:
    """Return the corners (C, 2) float64 of a polygon.

    Raises:
        ValueError: it is no list of an even number of finite numbers, or its numbers are run lengths.
    """
    if isinstance(polygon, list) and polygon and all(isinstance(each, list) for each in polygon):
        raise ValueError("its corners are lists of their own; write [x, y, x, y, ...]")
    if not isinstance(polygon, list) or any(type(value) not in (int, float) for value in polygon):
        raise ValueError(f"a polygon is {polygon!r:.60}; expected numbers x, y, x, y, ...")
    try:
        values = np.array(polygon, dtype=np.float64)
    except OverflowError:  # an integer of hundreds of digits
        raise ValueError("a polygon has a number that is out of any range") from None
    if not np.isfinite(values).all():
        raise ValueError("a polygon has numbers that are not finite")
    # an odd or even list of runs passes for corners; its sum gives it away
    if values.sum() == height * width:
        raise ValueError(
            f"its numbers add up to the {height * width} pixels of the image, as run lengths do; write them as "
            f'{{"counts": [...], "size": [{height}, {width}]}}'
        )
    if len(values) % 2:
        raise ValueError(f"a polygon has {len(values)} numbers; expected x and y of each corner")
    return values.reshape(-1, 2)


def _fault_of_polygons(polygons: list[np.ndarray], height: int, width: int) -> OutlineFault | None:
    every = np.concatenate(polygons)
    if not len(every):
        return OutlineFault(faults.MISSING_OUTLINE, "its polygons are empty; draw it, or remove the annotation.")
    size = f"the image of {width} x {height} pixels (width x height)"
    low, high = every.min(axis=0), every.max(axis=0)
    shown = f"x {low[0]:g}..{high[0]:g}, y {low[1]:g}..{high[1]:g}"
    # a polygon within one pixel is possible, but in an image of more than two it is a mistake of units
    if high.max() <= 1 and low.min() >= 0 and min(height, width) > 2:
        raise ValueError(f"its corners ({shown}) are fractions of the image; expected pixels")
    if (high <= 0).any() or (low >= (width, height)).any():
        return OutlineFault(faults.OUTSIDE_OUTLINE, f"its outline ({shown}) is outside of {size}.")
    if (low < (-width, -height)).any() or (high > (2 * width, 2 * height)).any():
        raise ValueError(f"its corners ({shown}) are far outside of {size}")
    bad = [part for part, each in enumerate(polygons, 1) if _is_degenerate(each)]
    if bad:
        part = "" if len(polygons) == 1 else f"part {bad[0]} of {len(polygons)} of "
        number = len(polygons[bad[0] - 1])
        reason = f"has {number} corners, expected 3 or more" if number < 3 else "has no area"
        return OutlineFault(faults.DEGENERATE_OUTLINE, f"{part}its outline {reason}. Draw or remove it.")
    return None


def _fault_of_runs(outline: dict[str, Any], height: int, width: int) -> OutlineFault | None:
    # what json.dumps(default=str) makes of pycocotools' bytes
    if isinstance(counts := outline.get("counts"), str) and counts.startswith(("b'", 'b"')):
        raise ValueError("its counts are Python's way to print bytes, b'...'; write counts.decode()")
    runs, *size = read_runs(outline)
    if size != [height, width]:
        message = (
            f"its mask is {size[1]} x {size[0]} pixels, its image {width} x {height} (width x height); size is "
            "[height, width]. Correct size, or encode the mask of that image."
        )
        return OutlineFault(faults.SIZE_MISMATCH, message)
    if not runs[1::2].any():
        return OutlineFault(faults.DEGENERATE_OUTLINE, "its mask has no pixel. Draw it, or remove the annotation.")
    return None


def _is_degenerate(corners: np.ndarray) -> bool:
    """Whether corners (C, 2) enclose no area: fewer than three of them, or all on one line."""
    if len(corners) < 3:
        return True
    sides = corners[1:] - corners[0]
    # not the signed area, which is 0 for a figure of eight, too
    longest = sides[np.argmax(np.abs(sides).sum(axis=1))]
    return bool(np.abs(sides[:, 0] * longest[1] - sides[:, 1] * longest[0]).max() < 1e-9)
