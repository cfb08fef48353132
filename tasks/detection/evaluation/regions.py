"""Boxes or masks of many objects, with COCO's overlaps between them to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from pycocotools import mask as coco_mask
from typing_extensions import Self

from vertebra.tasks.detection.annotations.instances import Detections, Instances
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks, areas_of, boxes_of


class RegionPairs(NamedTuple):
    """P pairs of a region and another.

    Attributes:
        rows: (P,) int64, of the regions, ascending.
        other_rows: (P,) int64, of the others.
        crowd: (P,) bool, whether the other is a crowd, of which the IoU is the part of the region that is in it.
        group: (P,) int64, ascending; pairs of one group are of one image.
    """

    rows: np.ndarray
    other_rows: np.ndarray
    crowd: np.ndarray
    group: np.ndarray

    def of(self, chosen: np.ndarray) -> RegionPairs:
        """Return some of the pairs, by their indices."""
        return RegionPairs(*(values[chosen] for values in self))


class Regions(Protocol):
    """N regions of images."""

    @classmethod
    def of(cls, tables: Sequence[Instances] | Sequence[Detections]) -> Self:
        """Return the regions of the objects of all images in a row."""

    def __getitem__(self, rows: np.ndarray) -> Self: ...

    def areas(self) -> np.ndarray:
        """Return the areas (N,) float64."""

    def iou(self, others: Self, pairs: RegionPairs, least: float) -> np.ndarray:
        """Return the IoU (P,) float64 of pairs with other regions; one below `least` may be given as 0."""


class BoxRegions:
    """Boxes, (N, 4) float64 xywh."""

    def __init__(self, boxes: np.ndarray) -> None:
        self.boxes = boxes

    @classmethod
    def of(cls, tables: Sequence[Instances] | Sequence[Detections]) -> BoxRegions:
        # COCO's files hold widths and heights: x1 + (x2 - x1) is not always x2, and a bit decides at a threshold
        together = np.concatenate([np.zeros((0, 4)), *(table.boxes for table in tables)])
        together[:, 2:] -= together[:, :2]
        return cls(together)

    def __getitem__(self, rows: np.ndarray) -> BoxRegions:
        return BoxRegions(self.boxes[rows])

    def areas(self) -> np.ndarray:
        return self.boxes[:, 2] * self.boxes[:, 3]

    def iou(self, others: BoxRegions, pairs: RegionPairs, least: float) -> np.ndarray:
        # each step in the order of pycocotools' `bbIou`, for the last bit
        detected, boxes = self.boxes[pairs.rows], others.boxes[pairs.other_rows]
        ends = np.minimum(detected[:, 2:] + detected[:, :2], boxes[:, 2:] + boxes[:, :2])
        width, height = (ends - np.maximum(detected[:, :2], boxes[:, :2])).T
        overlap = np.where((width > 0) & (height > 0), width * height, 0)
        area = detected[:, 2] * detected[:, 3]
        union = np.where(pairs.crowd, area, area + boxes[:, 2] * boxes[:, 3] - overlap)
        return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


class MaskRegions:
    """N masks: run lengths as pycocotools has them, areas (N,) and boxes (N, 4) xyxy."""

    def __init__(self, rles: list[dict[str, Any]], areas: np.ndarray, boxes: np.ndarray) -> None:
        self.rles = rles
        self._areas = areas
        self.boxes = boxes

    @classmethod
    def of(cls, tables: Sequence[Instances] | Sequence[Detections]) -> MaskRegions:
        # one list, since each of hundreds of thousands of objects costs the garbage collector time
        columns = [table.masks for table in tables if isinstance(table.masks, RunLengthMasks)]
        rles = [rle for masks in columns for rle in masks.rles()]
        return cls(rles, areas_of(rles), boxes_of(rles))

    def __getitem__(self, rows: np.ndarray) -> MaskRegions:
        indices = np.arange(len(self.rles))[rows]
        return MaskRegions([self.rles[i] for i in indices.tolist()], self._areas[indices], self.boxes[indices])

    def areas(self) -> np.ndarray:
        return self._areas

    def iou(self, others: MaskRegions, pairs: RegionPairs, least: float) -> np.ndarray:
        iou = np.zeros(len(pairs.rows))
        near = np.flatnonzero(self._most(others, pairs) >= least)
        starts = np.flatnonzero(np.diff(pairs.group[near], prepend=-1))
        for some in np.split(near, starts[1:]) if len(near) else ():
            # all of a group at once: what pycocotools returns of a pair does not depend on the others
            is_next = np.diff(pairs.rows[some], prepend=-1) != 0
            rows = pairs.rows[some[is_next]]
            others_of = pairs.other_rows[some]
            first, last = int(others_of.min()), int(others_of.max())
            crowd = np.zeros(last - first + 1, dtype=np.uint8)
            crowd[others_of - first] = pairs.crowd[some]
            own = [self.rles[i] for i in rows.tolist()]
            matrix = coco_mask.iou(own, others.rles[first : last + 1], crowd.tolist())
            iou[some] = matrix[np.cumsum(is_next) - 1, others_of - first]
        return iou

    def _most(self, others: MaskRegions, pairs: RegionPairs) -> np.ndarray:
        """Return what the IoU of each pair can be at most, (P,), by boxes and areas alone."""
        boxes, other_boxes = self.boxes[pairs.rows], others.boxes[pairs.other_rows]
        areas, other_areas = self._areas[pairs.rows], others._areas[pairs.other_rows]
        sides = np.minimum(boxes[:, 2:], other_boxes[:, 2:]) - np.maximum(boxes[:, :2], other_boxes[:, :2])
        shared = np.minimum(np.clip(sides, 0, None).prod(axis=1), np.minimum(areas, other_areas))
        union = np.where(pairs.crowd, areas, areas + other_areas - shared)
        return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
