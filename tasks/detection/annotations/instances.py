"""Tables of objects: annotated instances and detections, indexed and concatenated as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.annotations.table import Table


# eq=False: arrays have no truth value to compare by
@dataclass(frozen=True, eq=False)
class Instances(Table):
    """Annotated objects; arrays and not objects, for the reason that `Annotations` gives.

    Attributes:
        boxes: (N, 4) float xyxy in pixels of the image at hand.
        labels: (N,) int64 in 1..K.
        crowd: (N,) bool, regions in which detections are neither right nor wrong.
        areas: (N,) float64, area of the object (of its mask where the file has it) in pixels of the image file, also
            where the image is resized or augmented.
        ids: (N,) int64, the annotations' own.
        masks: (N,) run lengths in pixels of the image file, or packed crops where the image is resized or augmented;
            None where boxes are all that is wanted.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    ids: np.ndarray  # kept so that faults and results can name an annotation of the file
    masks: RunLengthMasks | PackedMasks | None = None

    @classmethod
    def empty(cls) -> Instances:
        """Return a table without rows."""
        none: np.ndarray = np.zeros(0)
        integers = none.astype(np.int64)
        return cls(none.reshape(0, 4), integers, none.astype(np.bool_), none, integers)


@dataclass(frozen=True, eq=False)
class Detections(Table):
    """What a detector found in an image.

    Attributes:
        boxes: (D, 4) float64 xyxy in pixels of the image file.
        labels: (D,) int64 in 1..K.
        scores: (D,) float64 in 0..1.
        masks: (D,) run lengths in pixels of the image file; None of a network that predicts boxes only.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: RunLengthMasks | None = None
