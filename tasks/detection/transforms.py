"""Resizing and augmentation of images with their boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import albumentations as A
import cv2
import numpy as np

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.mask_transforms import from_planes, refuse_blending, resized_masks, to_planes
from vertebra.tasks.loading.files.resizing import resized_by

# An object of which augmentation left less than this part is no example of its class.
LEAST_VISIBILITY = 0.1
LEAST_SIZE = 1.0  # pixels


class LabeledImage(NamedTuple):
    """An image with its annotated objects.

    Attributes:
        image: (H, W, C) uint8, RGB unless the data set's `Pixels` choose other channels.
        instances: the G objects; boxes are float32 in pixels of `image`, and masks packed if there are any.
    """

    image: np.ndarray
    instances: Instances

    def without_flat_boxes(self, least: float) -> LabeledImage:
        """Return the image with those of its boxes that are at least `least` pixels wide and high."""
        boxes = self.instances.boxes
        return self._replace(instances=self.instances[(boxes[:, 2:] - boxes[:, :2] >= least).all(axis=1)])


@dataclass
class Resize:
    """Scale an image, keeping its shape, to a shorter side that does not make the longer one too long.

    Args:
        short: lengths of the shorter side in pixels; training draws one for each batch, evaluation takes the last.
        longest: the longer side is at most this.
    """

    short: Sequence[int] = (640, 672, 704, 736, 768, 800)
    longest: int = 1333

    def scale(self, height: int, width: int, short: int) -> float:
        """Return the factor for an image of this size."""
        return min(short / min(height, width), self.longest / max(height, width))

    def __call__(self, sample: LabeledImage, short: int | None = None) -> tuple[LabeledImage, tuple[float, float]]:
        """Return the resized sample, and by how much its height and its width were scaled."""
        height, width = sample.image.shape[:2]
        return scaled(sample, self.scale(height, width, short or self.short[-1]))


def scaled(sample: LabeledImage, scale: float) -> tuple[LabeledImage, tuple[float, float]]:
    """Resize an image with its boxes and masks; return by how much its height and its width were scaled, too.

    Args:
        sample: of at least one pixel.
        scale: of both sides, which are rounded to whole pixels.
    """
    height, width = sample.image.shape[:2]
    size = max(1, round(height * scale)), max(1, round(width * scale))
    factors = size[0] / height, size[1] / width
    if size == (height, width):
        return sample, factors
    image = resized_by(sample.image, *size, cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR)
    # scaled and not taken from the smaller masks, which have lost the fractions of a pixel
    boxes = sample.instances.boxes * np.array([factors[1], factors[0]] * 2, dtype=np.float32)
    masks = sample.instances.masks
    if isinstance(masks, PackedMasks):
        masks = resized_masks(masks, factors, size)
    return LabeledImage(image, replace(sample.instances, boxes=boxes, masks=masks)), factors


class Augment:
    """Augmentation by albumentations transforms of images, boxes and masks.

    Where objects have masks, boxes are those around what the transforms leave of the masks.

    Args:
        transforms: any of albumentations' transforms that can treat boxes, in order.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform | A.BaseCompose]) -> None:
        boxes = A.BboxParams(
            format="pascal_voc",
            label_fields=["rows"],
            clip=True,
            min_visibility=LEAST_VISIBILITY,
            filter_invalid_bboxes=True,
        )
        self.transforms = list(transforms)
        self.compose = A.Compose(self.transforms, bbox_params=boxes) if transforms else None

    def __call__(self, sample: LabeledImage, seed: int) -> LabeledImage:
        """Return the augmented sample; the same `seed` gives the same result in any worker.

        Raises:
            ValueError: there are masks, and a transform blends or fills them.
        """
        if self.compose is None:
            return sample
        self.compose.set_random_seed(seed)
        instances, planes = sample.instances, {}
        if isinstance(instances.masks, PackedMasks):
            refuse_blending(self.transforms)
            planes = {"masks": to_planes(instances.masks, sample.image.shape[:2])}
        result = self.compose(image=sample.image, bboxes=instances.boxes, rows=np.arange(len(instances)), **planes)
        boxes = np.asarray(result["bboxes"], dtype=np.float32).reshape(-1, 4)
        # boxes come back without those that left the image; every other column follows by its row
        rows = np.asarray(result["rows"], dtype=np.int64)
        masks = None
        if planes:
            rows = np.unique(rows)  # a box that was cut in two comes back twice, its mask is one
            masks = from_planes(result["masks"], rows.tolist())
            boxes = masks.boxes()
        left = replace(instances[rows], boxes=boxes, masks=masks)
        return LabeledImage(result["image"], left).without_flat_boxes(LEAST_SIZE)
