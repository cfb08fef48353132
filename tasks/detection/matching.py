"""Which box belongs to which object, and which of them train: for all images of a batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vertebra.tasks.detection.batch import Targets
from vertebra.tasks.detection.boxes import coverage, iou

IGNORE = -1

# A box that lies by this much in a crowd is no background: the least overlap at which COCO excuses a detection there.
CROWD_COVERAGE = 0.5


class Match(NamedTuple):
    """What each of B boxes of each image is to learn.

    Attributes:
        objects: (N, B) int64, index of the object with the largest overlap; meaningful where `labels` is above 0.
        labels: (N, B) int64, the object's class in 1..K, 0 for background, `IGNORE` for neither.
    """

    objects: Tensor
    labels: Tensor


def match(
    boxes: Tensor,
    targets: Targets,
    foreground: float,
    background: float,
    allow_low_quality_matches: bool = False,
    valid: Tensor | None = None,
) -> Match:
    """Give each box the class of the object that it overlaps most.

    Args:
        boxes: (B, 4), the same for every image, or (N, B, 4).
        targets: the true boxes.
        foreground: least intersection over union with an object to be of its class.
        background: an intersection over union below this is background; what lies between is ignored.
        allow_low_quality_matches: also take, for every object, the boxes that overlap it most, however little that is.
        valid: (N, B) bool, False for padding, which is ignored.
    """
    overlaps = iou(targets.boxes, boxes)  # (N, G, B)
    overlaps.masked_fill_((targets.labels == 0).unsqueeze(-1), -1.0)
    best, objects = overlaps.max(dim=1)  # (N, B)
    labels = targets.labels.gather(1, objects)
    is_object = best >= foreground
    if allow_low_quality_matches:
        most = overlaps.amax(dim=2, keepdim=True)  # (N, G, 1)
        # an object that no box touches rescues none: a largest overlap of 0 is shared by every box
        is_object |= ((overlaps == most) & (most > 0)).any(dim=1)
    is_background = ~is_object & (best < background)
    if targets.ignored.shape[1]:
        is_background &= coverage(boxes, targets.ignored).amax(dim=-1) < CROWD_COVERAGE
    labels = torch.where(is_object, labels, torch.where(is_background, 0, IGNORE))
    if valid is not None:
        labels = labels.masked_fill(~valid, IGNORE)
    return Match(objects, labels)


class Sample(NamedTuple):
    """The boxes of each image that take part in a loss.

    Attributes:
        indices: (N, S) int64 into the image's boxes, objects first.
        labels: (N, S) int64, as in `Match`; `IGNORE` where there were fewer than S boxes to sample.
    """

    indices: Tensor
    labels: Tensor


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
        best = objects.topk(min(self.num_objects, labels.shape[1]), dim=1)
        objects = torch.full_like(objects, -1.0).scatter(1, best.indices, best.values)
        # one order for all: objects in 1..2, then background in 0..1, then what must not be drawn
        order = torch.where(objects >= 0, 1.0 + draw, draw.masked_fill(labels != 0, -1.0))
        drawn = order.topk(min(self.size, labels.shape[1]), dim=1)
        return Sample(drawn.indices, labels.gather(1, drawn.indices).masked_fill(drawn.values < 0, IGNORE))
