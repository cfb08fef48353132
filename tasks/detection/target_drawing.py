"""Training targets drawn into the images that the network sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from vertebra.tasks.detection.drawing import draw_boxes
from vertebra.tasks.detection.mask_drawing import draw_crops
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.crops import Crop
from vertebra.tasks.detection.parts.masks import MaskBatch
from vertebra.tasks.reporting.captions import enlarged
from vertebra.tasks.reporting.report import Picture


def draw_targets(
    pictures: Sequence[np.ndarray], sizes: Tensor, targets: Targets, class_names: Sequence[str]
) -> list[Picture]:
    """Draw the boxes and masks of a training batch.

    Args:
        pictures: of the first n images of the batch, each (H, W, 3) uint8 RGB, with padding.
        sizes: (N, 2) int64, height and width of each image within its padding.
        targets: of the N images.
        class_names: the K classes.
    """
    drawn = []
    for i, (picture, (height, width)) in enumerate(zip(pictures, sizes.tolist(), strict=False)):
        is_object = targets.labels[i] > 0
        boxes, labels = (values[i][is_object].cpu().numpy() for values in (targets.boxes, targets.labels))
        image = picture[:height, :width]
        if targets.masks is not None:
            image = draw_crops(image, list(_crops(targets.masks, i, len(labels))), labels)
        large = enlarged(image)  # before boxes are drawn, whose lines would cover small objects
        number = f"{len(labels)} object{'' if len(labels) == 1 else 's'}, {width} x {height}"
        factor = large.shape[0] / height
        drawn.append(Picture(draw_boxes(large, factor * boxes, labels, class_names), "", number))
    return drawn


def _crops(masks: MaskBatch, image: int, count: int) -> Iterator[Crop]:
    """Yield the first masks of an image."""
    bits = masks.bits.cpu().numpy()
    windows, offsets = (values[image, :count].tolist() for values in (masks.windows, masks.offsets))
    for (x, y, width, height), offset in zip(windows, offsets, strict=True):
        row = -(-width // 8)
        packed = bits[offset : offset + height * row].reshape(height, row)
        yield (x, y, width, height), np.unpackbits(packed, axis=1, count=width).view(np.bool_)
