"""Masks of an image through resizing and augmentation, without a dense mask of each object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import albumentations as A
import cv2
import numpy as np

from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.parts.crops import Crop, crop_mask

# Interpolations that only copy pixels. They keep the bits of a byte together, so that 8 masks travel as one plane.
_COPYING = (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT)


def resized_masks(masks: PackedMasks, factors: tuple[float, float], size: tuple[int, int]) -> PackedMasks:
    """Scale masks by nearest neighbors of pixel centers; an object of which no pixel is left keeps its middle one.

    Args:
        masks: in pixels of the image before.
        factors: by which height and width are scaled.
        size: height and width of the image behind.
    """
    return PackedMasks.of(_resized(crop, factors, size) for crop in masks.crops())


def _resized(crop: Crop, factors: tuple[float, float], size: tuple[int, int]) -> Crop:
    (x, y, width, height), pixels = crop
    if not pixels.size:
        return crop
    left, columns = _nearest(x, width, factors[1], size[1])
    top, rows = _nearest(y, height, factors[0], size[0])
    scaled = pixels[rows[:, None], columns]
    if pixels.any() and not scaled.any():
        scaled[len(rows) // 2, len(columns) // 2] = True
    return (left, top, len(columns), len(rows)), scaled


def _nearest(start: int, length: int, factor: float, limit: int) -> tuple[int, np.ndarray]:
    """Return the first pixel of an interval behind scaling, and the index in the interval that each pixel is of."""
    first = min(max(0, int(np.ceil(start * factor - 0.5))), limit - 1)
    end = min(max(first + 1, int(np.ceil((start + length) * factor - 0.5))), limit)
    index = ((np.arange(first, end) + 0.5) / factor).astype(np.int64) - start
    return first, np.clip(index, 0, length - 1)


def cut_masks(masks: PackedMasks, corner: tuple[int, int], area: tuple[int, int, int, int]) -> PackedMasks:
    """Move masks, and cut them off at the border of an area; each is cropped to the pixels that it has left.

    Args:
        masks: in pixels of an image.
        corner: x and y of that image in the other one.
        area: x1, y1, x2, y2 in the other one.
    """
    return PackedMasks.of(_cut(crop, corner, area) for crop in masks.crops())


def _cut(crop: Crop, corner: tuple[int, int], area: tuple[int, int, int, int]) -> Crop:
    (x, y, width, height), pixels = crop
    x, y = x + corner[0], y + corner[1]
    if x >= area[0] and y >= area[1] and x + width <= area[2] and y + height <= area[3]:
        return (x, y, width, height), pixels
    left, top = max(x, area[0]), max(y, area[1])
    inside = pixels[top - y : max(top, area[3]) - y, left - x : max(left, area[2]) - x]
    return _tight((left, top), inside)


def without_covered(masks: PackedMasks, covered: np.ndarray) -> PackedMasks:
    """Take pixels (H, W) bool of the image from masks; each is cropped to the pixels that it has left."""
    return PackedMasks.of(
        _tight((x, y), pixels & ~covered[y : y + height, x : x + width])
        for (x, y, width, height), pixels in masks.crops()
    )


def _tight(corner: tuple[int, int], pixels: np.ndarray) -> Crop:
    """Return the crop of a mask whose pixels begin at a corner."""
    (x, y, width, height), inside = crop_mask(pixels)
    return (corner[0] + x, corner[1] + y, width, height), inside


def to_planes(masks: PackedMasks, size: tuple[int, int]) -> np.ndarray:
    """Draw masks into planes of an image, 8 in each: mask i is bit i % 8 of plane i // 8.

    Args:
        masks: N masks.
        size: height and width of the image.

    Returns:
        (P, H, W) uint8; one plane at least, since albumentations takes no empty list of masks.
    """
    planes = np.zeros((max(1, -(-len(masks) // 8)), *size), dtype=np.uint8)
    for i, ((x, y, width, height), pixels) in enumerate(masks.crops()):
        planes[i // 8, y : y + height, x : x + width] |= pixels.view(np.uint8) << np.uint8(i % 8)
    return planes


def from_planes(planes: np.ndarray, indices: Sequence[int]) -> PackedMasks:
    """Return some of the masks of planes (P, H, W) by their indices, each cropped to its pixels."""
    return PackedMasks.of(_cropped(planes, indices))


def _cropped(planes: np.ndarray, indices: Sequence[int]) -> Iterator[Crop]:
    columns, rows = np.bitwise_or.reduce(planes, axis=1), np.bitwise_or.reduce(planes, axis=2)  # (P, W), (P, H)
    for i in indices:
        plane, bit = i // 8, np.uint8(1 << i % 8)
        xs, ys = np.flatnonzero(columns[plane] & bit), np.flatnonzero(rows[plane] & bit)
        if not len(xs):
            yield (0, 0, 0, 0), np.zeros((0, 0), dtype=np.bool_)
            continue
        x1, x2, y1, y2 = int(xs[0]), int(xs[-1]) + 1, int(ys[0]), int(ys[-1]) + 1
        yield (x1, y1, x2 - x1, y2 - y1), planes[plane, y1:y2, x1:x2] & bit != 0


def refuse_blending(transforms: Sequence[A.BasicTransform | A.BaseCompose]) -> None:
    """Refuse transforms that would mix the bits of masks or fill them.

    Raises:
        ValueError: a transform interpolates masks by other than nearest neighbors, or fills them with a value.
    """
    for transform in transforms:
        if isinstance(transform, A.BaseCompose):
            refuse_blending(transform.transforms)
            continue
        name = type(transform).__name__
        interpolation = getattr(transform, "mask_interpolation", cv2.INTER_NEAREST)
        if interpolation not in _COPYING:
            raise ValueError(
                f"data.augment: {name} has mask_interpolation={interpolation}; masks of objects are binary, so use "
                f"{cv2.INTER_NEAREST} (nearest), or leave it out."
            )
        if getattr(transform, "fill_mask", None):
            raise ValueError(
                f"data.augment: {name} has fill_mask={transform.fill_mask}; outside of the image there is no object, "
                "so use 0, or leave it out."
            )
