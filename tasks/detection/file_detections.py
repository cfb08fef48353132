"""What a network found, in the pixels of an image file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.detection.annotations.instances import Detections
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.parts.crops import Crop
from vertebra.tasks.detection.parts.masks import paste_crops
from vertebra.tasks.detection.tile_merging import merge_tiles


class Found(NamedTuple):
    """What a network found in an image, or in a tile of it.

    Attributes:
        boxes: (D, 4) float64 xyxy in pixels of the image file.
        scores: (D,) float64.
        labels: (D,) int64.
        probs: (D, M, M) float32 of the masks, see `paste_crops`; None of a network that predicts boxes only.
        window: (4,) xyxy, what was detected on.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    probs: Tensor | None
    window: np.ndarray

    @classmethod
    def of(cls, found: dict[str, Tensor], factors: tuple[float, float], window: np.ndarray) -> Found:
        """Return detections of a network, to which height and width of the window were scaled by `factors`."""
        probs = found.get("mask_probs")
        return cls(
            found["boxes"].double().cpu().numpy() / np.array([factors[1], factors[0]] * 2) + np.tile(window[:2], 2),
            found["scores"].double().cpu().numpy(),
            found["labels"].cpu().numpy(),
            None if probs is None else probs.float().cpu(),
            window,
        )


def whole_detections(found: Found, size: tuple[int, int]) -> Detections:
    """Return what was found in an image of this height and width."""
    masks = None
    if found.probs is not None:
        masks = RunLengthMasks.encode(paste_crops(found.probs, torch.from_numpy(found.boxes), *size), *size)
    return Detections(found.boxes, found.labels, found.scores, masks)


def merged_detections(views: Sequence[Found], size: tuple[int, int], threshold: float) -> Detections:
    """Return the objects that were found in one or more tiles of an image.

    Args:
        views: of the tiles, and of the whole image where that was detected on.
        size: height and width of the image.
        threshold: overlap above which two detections are one object.
    """
    boxes, scores, labels = (np.concatenate([getattr(view, name) for view in views]) for name in Found._fields[:3])
    windows = np.repeat([view.window for view in views], [len(view.scores) for view in views], axis=0)
    objects = merge_tiles(boxes, scores, labels, windows, size, threshold)
    probs = [view.probs for view in views if view.probs is not None]
    masks = None
    if probs:
        masks = RunLengthMasks.encode(_joined(torch.cat(probs), torch.from_numpy(boxes), objects.parts, size), *size)
    return Detections(objects.boxes, objects.labels, objects.scores, masks)


def _joined(probs: Tensor, boxes: Tensor, objects: Sequence[list[int]], size: tuple[int, int]) -> Iterator[Crop]:
    """Yield the mask of each object, which is that of one detection or of several parts."""
    for parts in objects:
        crops = paste_crops(probs[parts], boxes[parts], *size)
        if len(crops) == 1:
            yield crops[0]
            continue
        windows = np.array([window for window, _ in crops])
        x, y = windows[:, :2].min(axis=0).tolist()
        width, height = ((windows[:, :2] + windows[:, 2:]).max(axis=0) - [x, y]).tolist()
        joined = np.zeros((height, width), dtype=np.bool_)
        for (left, top, w, h), crop in crops:
            joined[top - y : top - y + h, left - x : left - x + w] |= crop
        yield (x, y, width, height), joined
