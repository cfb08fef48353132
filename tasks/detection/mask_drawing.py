"""Masks drawn into a picture: over the objects, and truth against prediction at their borders."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from vertebra.tasks.detection.annotations.instances import Detections, Instances
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.mask_transforms import resized_masks
from vertebra.tasks.detection.parts.crops import Crop
from vertebra.tasks.reporting.charts import class_color

MISSED, EXTRA, OUTLINE = (60, 130, 255), (255, 140, 0), (255, 255, 255)  # RGB of pixels, and of the true outline
_ALPHA = 0.45  # opacity of a mask over the image
_DIMMED = 0.45  # brightness of the image behind errors
_LEAST_IOU = 0.5  # from this IoU on, a mask is of an object


def draw_masks(image: np.ndarray, masks: RunLengthMasks, labels: np.ndarray) -> np.ndarray:
    """Blend masks over an image in the colors of their classes, each with its outline.

    Args:
        image: (H, W, 3) uint8 RGB; it stays as it is.
        masks: N masks, of the image in this or another size; the first, drawn last, lies on top.
        labels: (N,) int in 1..K.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    return draw_crops(image, _scaled(masks, image), labels)


def draw_crops(image: np.ndarray, crops: Sequence[Crop], labels: np.ndarray) -> np.ndarray:
    """Draw as `draw_masks` does, masks in pixels of the image."""
    canvas = np.ascontiguousarray(image).copy()
    for crop, label in zip(reversed(crops), labels[::-1].tolist(), strict=True):
        color = class_color(label)
        (x, y, width, height), pixels = crop
        window = canvas[y : y + height, x : x + width]
        window[pixels] = np.rint((1 - _ALPHA) * window[pixels] + _ALPHA * np.array(color)).astype(np.uint8)
        _draw_outline(canvas, crop, color)
    return canvas


def draw_mask_errors(image: np.ndarray, truth: Instances, found: Detections) -> np.ndarray:
    """Draw which pixels of objects their masks miss (blue) and which they add (orange), and the true outlines (white).

    A mask is of the object of its class that it overlaps best, best scores first; one on no object is all added, and an
    object without one all missed. Crowds have no errors.

    Args:
        image: (H, W, 3) uint8 RGB, shown in gray; it stays as it is.
        truth: the objects, with masks.
        found: the detections, with masks.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    canvas = np.repeat((gray * _DIMMED).astype(np.uint8)[..., None], 3, axis=2)
    true, drawn = _scaled(_masks_of(truth), canvas), _scaled(_masks_of(found), canvas)
    object_of = _objects_of(truth, found)
    missed = np.flatnonzero(~truth.crowd & ~np.isin(np.arange(len(truth)), object_of))
    pairs: list[tuple[Crop | None, Crop | None]] = [(true[i], None) for i in missed.tolist()]
    pairs += [(true[i] if i >= 0 else None, crop) for i, crop in zip(object_of.tolist(), drawn, strict=True)]
    for whole, mask in pairs:
        one, other = _dense(whole, canvas), _dense(mask, canvas)
        canvas[one & ~other], canvas[other & ~one] = MISSED, EXTRA
    for crop, is_crowd in zip(true, truth.crowd.tolist(), strict=True):
        if not is_crowd:
            _draw_outline(canvas, crop, OUTLINE)
    return canvas


def _objects_of(truth: Instances, found: Detections) -> np.ndarray:
    """Return the index of the object that each mask is of, (D,) int64, -1 for none."""
    objects = np.full(len(found), -1)
    if not len(truth) or not len(found):
        return objects
    iou = np.array(coco_mask.iou(_masks_of(found).rles(), _masks_of(truth).rles(), truth.crowd.tolist()))
    iou[(found.labels[:, None] != truth.labels) | truth.crowd] = 0
    for i in np.argsort(-found.scores, kind="stable").tolist():
        best = int(iou[i].argmax())
        if iou[i, best] >= _LEAST_IOU:
            objects[i] = best
            iou[:, best] = 0
    return objects


def _masks_of(table: Instances | Detections) -> RunLengthMasks:
    if not isinstance(table.masks, RunLengthMasks):
        raise ValueError(f"the objects have {type(table.masks).__name__}; expected run lengths of their masks.")
    return table.masks


def _scaled(masks: RunLengthMasks, canvas: np.ndarray) -> list[Crop]:
    """Return masks in the pixels of a canvas (H, W, 3)."""
    size = (canvas.shape[0], canvas.shape[1])
    if not len(masks):
        return []
    height, width = masks.sizes[0].tolist()
    return list(resized_masks(masks.packed(), (size[0] / height, size[1] / width), size).crops())


def _dense(crop: Crop | None, canvas: np.ndarray) -> np.ndarray:
    dense = np.zeros(canvas.shape[:2], dtype=np.bool_)
    if crop is not None:
        (x, y, width, height), pixels = crop
        dense[y : y + height, x : x + width] = pixels
    return dense


def _draw_outline(canvas: np.ndarray, crop: Crop, color: Sequence[int]) -> None:
    (x, y, *_), pixels = crop
    if not pixels.any():
        return
    contours, _ = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    thickness = max(1, round(np.hypot(*canvas.shape[:2]) / 600))
    cv2.drawContours(canvas, contours, -1, color, thickness)
