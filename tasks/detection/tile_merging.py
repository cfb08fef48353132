"""Merging of detections in overlapping tiles: no object twice, none in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BORDER = 0.02  # of a tile's side: a box that ends nearer to the end of its tile than this is taken to be cut


class Objects(NamedTuple):
    """The objects of an image.

    Attributes:
        boxes: (M, 4) float64 xyxy, best score first.
        scores: (M,) float64.
        labels: (M,) int64.
        parts: indices of the detections that make up each object: one, or several where every tile cuts it.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    parts: list[list[int]]


def merge_tiles(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    windows: np.ndarray,
    size: tuple[int, int],
    threshold: float,
) -> Objects:
    """Merge what was found in several tiles of an image, and in the image as a whole.

    Two detections are one object if they agree, by their intersection over union, in the region that both of their
    tiles see. A detection that the end of its tile cuts is dropped where another tile shows the object whole. Of those
    that agree the best that is not cut is kept, with the best score of all; where all are cut they are joined.

    Args:
        boxes: (D, 4) float64 xyxy in pixels of the image.
        scores: (D,) float64 in 0..1.
        labels: (D,) int64.
        windows: (D, 4) xyxy, the tile or whole image that each was found in.
        size: height and width of the image.
        threshold: intersection over union above which two detections agree.
    """
    is_cut = _cut(boxes, windows, size)
    candidates = np.flatnonzero(~(is_cut & _whole_elsewhere(boxes, windows, size)))
    objects: list[tuple[float, int, np.ndarray, list[int]]] = []
    for label in np.unique(labels[candidates]).tolist():
        left = candidates[labels[candidates] == label]
        left = left[np.lexsort((-scores[left], is_cut[left]))]  # those that are not cut first, then the best
        while len(left):
            best, left = int(left[0]), left[1:]
            parts, agreeing, unchecked = [best], [best], [best]
            while unchecked:
                same = _agree(unchecked.pop(), left, boxes, windows, threshold)
                found, left = left[same].tolist(), left[~same]
                agreeing += found
                if is_cut[best]:  # the other parts of it may agree with this one only
                    parts += found
                    unchecked += found
            corners = boxes[parts]
            box = np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])
            objects.append((float(scores[agreeing].max()), label, box, parts))
    objects.sort(key=lambda found: -found[0])
    return _as_columns(objects)


def _as_columns(objects: Sequence[tuple[float, int, np.ndarray, list[int]]]) -> Objects:
    return Objects(
        boxes=np.array([box for _, _, box, _ in objects], dtype=np.float64).reshape(-1, 4),
        scores=np.array([score for score, _, _, _ in objects], dtype=np.float64),
        labels=np.array([label for _, label, _, _ in objects], dtype=np.int64),
        parts=[parts for _, _, _, parts in objects],
    )


def _cut(boxes: np.ndarray, windows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which boxes (D, 4) end at an end of their windows (D, 4) that is not the end of the image, (D,) bool."""
    is_cut: np.ndarray = np.any(~_clear_of_ends(boxes, windows, size), axis=1)
    return is_cut


def _clear_of_ends(boxes: np.ndarray, windows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which sides (D, 4) of boxes are within the windows; windows are endless where the image ends."""
    margin = BORDER * np.tile(windows[:, 2:] - windows[:, :2], 2)
    limits = np.array([0, 0, size[1], size[0]])
    distance = np.concatenate([boxes[:, :2] - windows[:, :2], windows[:, 2:] - boxes[:, 2:]], axis=1)
    return (distance > margin) | (windows == limits)


def _whole_elsewhere(boxes: np.ndarray, windows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which boxes (D, 4) another tile contains whole, (D,) bool; the whole image is no tile."""
    found = np.zeros(len(boxes), dtype=np.bool_)
    for window in np.unique(windows, axis=0):
        if not (window == [0, 0, size[1], size[0]]).all():
            found |= _clear_of_ends(boxes, np.broadcast_to(window, windows.shape), size).all(axis=1)
    return found


def _agree(one: int, others: np.ndarray, boxes: np.ndarray, windows: np.ndarray, threshold: float) -> np.ndarray:
    """Return which of the other detections (O,) are the same object as one, (O,) bool."""
    start = np.maximum(windows[one, :2], windows[others, :2])
    end = np.maximum(start, np.minimum(windows[one, 2:], windows[others, 2:]))
    low, high = boxes[one, :2].clip(start, end), boxes[one, 2:].clip(start, end)
    other_low, other_high = boxes[others, :2].clip(start, end), boxes[others, 2:].clip(start, end)
    sides = np.minimum(high, other_high) - np.maximum(low, other_low)
    shared = sides.clip(min=0).prod(axis=1)
    union = (high - low).prod(axis=1) + (other_high - other_low).prod(axis=1) - shared
    return shared > threshold * union  # no region in common is no agreement
