"""Images drawn on a gray canvas, with those of their objects that are seen there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.mask_transforms import cut_masks
from vertebra.tasks.detection.transforms import LEAST_SIZE, LEAST_VISIBILITY, LabeledImage

GRAY = 114  # of pixels that no image covers, as in YOLOX; near the mean of ImageNet

Area = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels


def blank(height: int, width: int, channels: int) -> np.ndarray:
    """Return a gray canvas (H, W, C) uint8."""
    return np.full((height, width, channels), GRAY, dtype=np.uint8)


def draw_image(canvas: np.ndarray, image: LabeledImage, corner: tuple[int, int]) -> Instances:
    """Draw an image on a canvas, and return the objects that are seen there.

    Args:
        canvas: (H, W, C) uint8, which is drawn on.
        image: of as many channels.
        corner: x and y of its upper left pixel on the canvas, which may be outside.

    Returns:
        The objects in pixels of the canvas, see `seen_in`.
    """
    (x, y), (height, width) = corner, image.image.shape[:2]
    left, top = max(x, 0), max(y, 0)
    right, bottom = max(left, min(x + width, canvas.shape[1])), max(top, min(y + height, canvas.shape[0]))
    canvas[top:bottom, left:right] = image.image[top - y : bottom - y, left - x : right - x]
    return seen_in(image.instances, corner, (left, top, right, bottom))


def seen_in(instances: Instances, corner: tuple[int, int], area: Area) -> Instances:
    """Move objects and cut them off at the border of an area; those of which too little is left are dropped.

    The box of an object with a mask is that of what is left of the mask.

    Args:
        instances: in pixels of an image.
        corner: x and y of that image in the other one.
        area: in the other one.
    """
    whole = instances.boxes + np.array(corner * 2, dtype=np.float32)
    boxes = np.clip(whole, np.array(area[:2] * 2, dtype=np.float32), np.array(area[2:] * 2, dtype=np.float32))
    sides, before = boxes[:, 2:] - boxes[:, :2], whole[:, 2:] - whole[:, :2]
    is_left = (sides >= LEAST_SIZE).all(axis=1) & (sides.prod(axis=1) >= LEAST_VISIBILITY * before.prod(axis=1))
    left = replace(instances, boxes=boxes)[is_left]
    if isinstance(left.masks, PackedMasks):
        return visible_part(left, cut_masks(left.masks, corner, area))
    return left


def visible_part(instances: Instances, masks: PackedMasks) -> Instances:
    """Return objects with what is left of their masks, without those that are almost hidden.

    Args:
        instances: with the whole masks.
        masks: what is left of each.
    """
    if not isinstance(instances.masks, PackedMasks):
        raise ValueError(f"masks are {type(instances.masks).__name__}; expected packed ones. Set data.masks.")
    left, whole = masks.areas(), instances.masks.areas()
    is_seen = (left > 0) & (left >= LEAST_VISIBILITY * whole)
    return replace(instances, boxes=masks.boxes(), masks=masks)[is_seen]


def random_corner(rng: np.random.Generator, size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Return a corner at which an image lies within a canvas, or covers it where it is larger; x and y.

    Args:
        rng: random generator.
        size: height and width of the image.
        canvas: height and width of the canvas.
    """
    y, x = (int(rng.integers(min(0, room), max(0, room) + 1)) for room in np.subtract(canvas, size))
    return x, y
