"""Assigners: which object each candidate box is to learn, for all images of a batch at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.boxes import coverage, iou
from vertebra.tasks.detection.parts.candidates import Candidates

IGNORE = -1

# A box that lies by this much in a crowd is no background: the least overlap at which COCO excuses a detection there.
CROWD_COVERAGE = 0.5


class Assignment(NamedTuple):
    """What each of B candidates of each image is to learn.

    Attributes:
        objects: (N, B) int64, index of the object among the image's targets; meaningful where `labels` is above 0.
        labels: (N, B) int64, the object's class in 1..K, 0 for background, `IGNORE` for neither.
    """

    objects: Tensor
    labels: Tensor


class Predictions(NamedTuple):
    """What the network predicts for each candidate, for assigners by cost.

    Attributes:
        scores: (N, B, K) of the classes, 0..1.
        boxes: (N, B, 4) xyxy, decoded.
    """

    scores: Tensor
    boxes: Tensor


class Assigner(ABC):
    """Gives each candidate an object, background, or nothing to learn.

    Assigners by overlap (IoU) and by center (FCOS, ATSS) look at candidates and targets alone; those by cost (SimOTA,
    TOOD) at the predictions too, which the networks that use one pass on, without their gradient.
    """

    @abstractmethod
    def __call__(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign the candidates of all images of a batch.

        Args:
            candidates: anchors, points or proposals.
            targets: the true boxes.
            predictions: for each candidate, for assigners by cost.
        """


@dataclass
class IoUAssigner(Assigner):
    """Gives each candidate the object that it overlaps most.

    Faster R-CNN, Ren et al. 2015, https://arxiv.org/abs/1506.01497, section 3.1.2.

    Args:
        foreground: least intersection over union with an object to be of its class.
        background: an intersection over union below this is background; what lies between is ignored.
        allow_low_quality_matches: also take, for every object, the candidates that overlap it most, however little.
    """

    foreground: float
    background: float
    allow_low_quality_matches: bool = False

    def __call__(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        overlaps = iou(targets.boxes, candidates.boxes)  # (N, G, B)
        overlaps.masked_fill_((targets.labels == 0).unsqueeze(-1), -1.0)
        best, objects = overlaps.max(dim=1)  # (N, B)
        labels = targets.labels.gather(1, objects)
        is_object = best >= self.foreground
        if self.allow_low_quality_matches:
            most = overlaps.amax(dim=2, keepdim=True)  # (N, G, 1)
            # an object that no box touches takes none: a largest overlap of 0 is shared by every box
            is_object |= ((overlaps == most) & (most > 0)).any(dim=1)
        is_background = ~is_object & (best < self.background)
        labels = torch.where(is_object, labels, torch.where(is_background, 0, IGNORE))
        return Assignment(objects, without_ignored(labels, candidates, targets))


@dataclass
class MultiBoxAssigner(Assigner):
    """Gives each object the candidate that overlaps it most, and each other candidate the object it overlaps enough.

    SSD: Single Shot MultiBox Detector, Liu et al. 2016, https://arxiv.org/abs/1512.02325, section 2.2. An object that
    no candidate touches gets none.

    Args:
        foreground: intersection over union with an object from which on a candidate is of its class; below it is
            background.
    """

    foreground: float = 0.5

    def __call__(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        overlaps = iou(targets.boxes, candidates.boxes)  # (N, G, B)
        overlaps.masked_fill_((targets.labels == 0).unsqueeze(-1), -1.0)
        best, objects = overlaps.max(dim=1)  # (N, B)
        most, favorite = overlaps.max(dim=2)  # (N, G)
        numbers = torch.arange(favorite.shape[1], device=favorite.device).where(most > 0, -1)
        # of objects with the same favorite, the last one gets it, as in torchvision
        of_favorite = torch.full_like(objects, -1).scatter_reduce(1, favorite, numbers, "amax")
        is_favorite = of_favorite >= 0
        objects = torch.where(is_favorite, of_favorite, objects)
        labels = targets.labels.gather(1, objects).masked_fill(~is_favorite & (best < self.foreground), 0)
        return Assignment(objects, without_ignored(labels, candidates, targets))


@dataclass
class CenterAssigner(Assigner):
    """Gives each point the smallest object around it, where it is near the object's center and of a level of its size.

    FCOS: Fully Convolutional One-Stage Object Detection, Tian et al. 2019, https://arxiv.org/abs/1904.01355; sampling
    near the center as in FCOS: A Simple and Strong Anchor-free Object Detector, Tian et al. 2020,
    https://arxiv.org/abs/2006.09214. A level has the objects whose farthest side is 4 to 8 strides away, the first
    level also the smaller ones and the last the larger ones: the paper's 64, 128, 256 and 512 pixels for P3 to P7.

    Args:
        radius: how far, in strides along each axis, a point may be from the center of its object.
    """

    radius: float = 1.5

    def __call__(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        points = candidates.boxes.unsqueeze(-3)  # (1, B, 4) or (N, 1, B, 4)
        x, y = (points[..., 0] + points[..., 2]) / 2, (points[..., 1] + points[..., 3]) / 2
        stride = points[..., 2] - points[..., 0]
        x1, y1, x2, y2 = targets.boxes.unsqueeze(-2).unbind(-1)  # each (N, G, 1)
        nearest = torch.minimum(torch.minimum(x - x1, x2 - x), torch.minimum(y - y1, y2 - y))  # (N, G, B)
        farthest = torch.maximum(torch.maximum(x - x1, x2 - x), torch.maximum(y - y1, y2 - y))
        from_center = torch.maximum((x - (x1 + x2) / 2).abs(), (y - (y1 + y2) / 2).abs())

        smallest, largest = 4 * stride, 8 * stride
        smallest[..., : candidates.levels[0]].fill_(0)  # an assignment would copy the number to the device
        largest[..., -candidates.levels[-1] :].fill_(torch.inf)
        fits = (nearest > 0) & (from_center < self.radius * stride) & (farthest > smallest) & (farthest < largest)
        fits &= (targets.labels > 0).unsqueeze(-1)
        areas = ((x2 - x1) * (y2 - y1)).masked_fill(~fits, torch.inf)
        best, objects = areas.min(dim=1)  # (N, B)
        labels = targets.labels.gather(1, objects).masked_fill(best.isinf(), 0)
        return Assignment(objects, without_ignored(labels, candidates, targets))


def without_ignored(labels: Tensor, candidates: Candidates, targets: Targets) -> Tensor:
    """Return labels (N, B) with `IGNORE` for background within a crowd, and for padding."""
    if targets.ignored.shape[1]:
        in_crowd = coverage(candidates.boxes, targets.ignored).amax(dim=-1) >= CROWD_COVERAGE
        labels = labels.masked_fill(in_crowd & (labels == 0), IGNORE)
    if candidates.valid is not None:
        labels = labels.masked_fill(~candidates.valid, IGNORE)
    return labels
