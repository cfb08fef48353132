"""Masks of the outlines of annotations: checked, drawn, compared with their boxes, turned with their images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vertebra.tasks.detection.annotations.orientation import FLIPS, Frames, turned
from vertebra.tasks.detection.annotations.raw_annotations import RawAnnotations
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.parts.crops import Crop
from vertebra.tasks.loading.coco.outlines import empty_mask, encode_outline, find_outline_fault
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault

# How far an edge of a box may be from its mask: annotators and exports round, of large objects by more.
_TOLERANCE_PIXELS, _TOLERANCE_PART = 2.0, 0.1


class DrawnMasks(NamedTuple):
    """Masks of M annotations.

    Attributes:
        masks: of each in the frame of its annotation, without a pixel where nothing can be drawn.
        is_empty: (M,) bool, whether an outline leaves no pixel.
        faults: of the outlines, and of masks that do not fit their boxes.
    """

    masks: RunLengthMasks
    is_empty: np.ndarray
    faults: list[Fault]


def draw_masks(raw: RawAnnotations, frames: Frames, boxes: np.ndarray) -> DrawnMasks:
    """Draw the outlines of annotations in the frame that they are in.

    Args:
        raw: of a reader, with outlines.
        frames: of its images.
        boxes: (M, 4) float64 xyxy in pixels of the frame.
    """
    faulty: dict[int, Fault] = {}
    drawn = []
    sizes = frames.sizes[raw.image_of]
    around = np.full((len(sizes), 4), np.nan)  # of polygons: a thin tip has corners and no pixel
    for i, (outline, (height, width)) in enumerate(zip(raw.outlines or (), sizes.tolist(), strict=True)):
        rle = empty_mask(max(height, 1), max(width, 1))
        # of an image without a size neither the border nor run lengths can be checked
        if (height and width) or not outline:
            outline = _in_pixels(outline, height, width) if outline and raw.in_fractions else outline
            fault = find_outline_fault(outline, height, width)
            if fault is not None:
                faulty[i] = raw.fault(fault.kind, i, fault.message)
            if fault is None or fault.kind == faults.DEGENERATE_OUTLINE:  # of one part; the others are drawn
                rle = encode_outline(outline, height, width)
                around[i] = _around(outline)
        drawn.append(rle)
    masks = RunLengthMasks.of(drawn)
    has_outline = np.array([bool(outline) for outline in raw.outlines or ()], dtype=np.bool_)
    is_empty = has_outline & (sizes > 0).all(axis=1) & (masks.areas() == 0)
    for i in np.flatnonzero(is_empty).tolist():
        message = "its outline covers the middle of no pixel. Draw or remove it."
        faulty.setdefault(i, raw.fault(faults.DEGENERATE_OUTLINE, i, message))
    around = np.where(np.isnan(around), masks.boxes(), around)
    for i in _misfits(around, sizes, boxes).tolist():
        own, mask = _corners(boxes[i]), _corners(around[i])
        message = f"its mask spans {mask}, its box is {own}; expected the same. Correct either, or leave out the box."
        faulty.setdefault(i, raw.fault(faults.MISFIT_MASK, i, message))
    return DrawnMasks(masks, is_empty, [faulty[i] for i in sorted(faulty)])


def turned_masks(masks: RunLengthMasks, sizes: np.ndarray, turns: np.ndarray) -> RunLengthMasks:
    """Apply EXIF orientations to masks.

    Args:
        masks: N masks in the frame of the stored pixels.
        sizes: (N, 2) height and width of that frame.
        turns: (N,) orientation in 1..8.
    """
    if (turns == 1).all():
        return masks
    parts = []
    for i, (turn, (height, width)) in enumerate(zip(turns.tolist(), sizes.tolist(), strict=True)):
        part = masks[i : i + 1]
        if turn != 1:
            shown = (width, height) if turn >= 5 else (height, width)
            part = RunLengthMasks.encode([_turned(next(part.crops()), (height, width), turn)], *shown)
        parts.append(part)
    return RunLengthMasks.concatenate(parts)


def _turned(crop: Crop, size: tuple[int, int], turn: int) -> Crop:
    (x, y, width, height), pixels = crop
    box = np.array([[x, y, x + width, y + height]], dtype=np.float64)
    left, top, right, bottom = turned(box, np.array([size]), np.array([turn]))[0].astype(int).tolist()
    pixels = pixels[:, ::-1] if turn in FLIPS[0] else pixels
    pixels = pixels[::-1] if turn in FLIPS[1] else pixels
    return (left, top, right - left, bottom - top), pixels.T if turn >= 5 else pixels


def _misfits(around: np.ndarray, sizes: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return which boxes (M, 4) differ from those around the outlines, as indices; what is no box is no misfit."""
    limits = sizes[:, [1, 0, 1, 0]]
    with np.errstate(invalid="ignore"):  # of boxes that are not finite
        clipped, around = np.clip(boxes, 0, limits), np.clip(around, 0, limits)
        sides = clipped[:, 2:] - clipped[:, :2]
        solid = (sides > 0).all(axis=1) & (around[:, 2:] > around[:, :2]).all(axis=1)
        allowed = _TOLERANCE_PIXELS + _TOLERANCE_PART * np.tile(sides, 2)
        return np.flatnonzero(solid & (np.abs(around - clipped) > allowed).any(axis=1))


def _around(outline: Any) -> np.ndarray | float:
    """Return the box (4,) around the corners of polygons, xyxy; NaN of run lengths."""
    if isinstance(outline, dict):
        return np.nan
    corners = np.concatenate([np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in outline])
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def _in_pixels(polygons: Any, height: int, width: int) -> Any:
    """Return polygons in fractions of an image as COCO writes them."""
    return [(np.array(polygon).reshape(-1, 2) * (width, height)).ravel().tolist() for polygon in polygons]


def _corners(box: np.ndarray) -> str:
    return "x {:g}..{:g}, y {:g}..{:g}".format(*box[[0, 2, 1, 3]])
