"""Sampling of the candidates that take part in a loss: for all images of a batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.assigners import IGNORE


class Sample(NamedTuple):
    """The boxes of each image that take part in a loss.

    Attributes:
        indices: (N, S) int64 into the image's boxes, objects first.
        labels: (N, S) int64, as in `Assignment`; `IGNORE` where there were fewer than S boxes to sample.
        most_objects: upper bound of the objects in an image, which come first.
    """

    indices: Tensor
    labels: Tensor
    most_objects: int


class BalancedSampler:
    """Draws boxes at random, of which at most a given part are objects.

    Args:
        size: how many boxes to draw from each image.
        object_fraction: how many of those are objects at most; background fills the rest.
    """

    def __init__(self, size: int, object_fraction: float) -> None:
        self.size = size
        self.num_objects = int(size * object_fraction)

    def __call__(self, labels: Tensor) -> Sample:
        """Draw from boxes whose `labels` (N, B) are classes, 0 or `IGNORE`."""
        draw = torch.rand(labels.shape, device=labels.device)
        objects = draw.masked_fill(labels <= 0, -1.0)
        num_objects = min(self.num_objects, labels.shape[1])
        best = objects.topk(num_objects, dim=1)
        objects = torch.full_like(objects, -1.0).scatter(1, best.indices, best.values)
        # one order for all: objects in 1..2, then background in 0..1, then what must not be drawn
        order = torch.where(objects >= 0, 1.0 + draw, draw.masked_fill(labels != 0, -1.0))
        drawn = order.topk(min(self.size, labels.shape[1]), dim=1)
        drawn_labels = labels.gather(1, drawn.indices).masked_fill(drawn.values < 0, IGNORE)
        return Sample(drawn.indices, drawn_labels, num_objects)


class RoISample(NamedTuple):
    """A sample of the proposals, on which all branches of the second stage train.

    Attributes:
        boxes: (N, S, 4) xyxy, the proposals.
        labels: (N, S) int64, as in `Sample`.
        objects: (N, S) int64, index of each proposal's object among the image's targets; meaningful where `labels` is
            above 0.
        is_target: (N, S) bool, which of the boxes are true boxes, added to the proposals.
        most_objects: as in `Sample`.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor
    is_target: Tensor
    most_objects: int
