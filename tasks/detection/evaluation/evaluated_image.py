"""One evaluated image: its annotated objects and its detections."""

from __future__ import annotations

from typing import NamedTuple

from vertebra.tasks.detection.annotations.instances import Detections, Instances


class EvaluatedImage(NamedTuple):
    """Truth and detections of one image; boxes are in the pixels of the image file.

    Attributes:
        image_id: unique in the data set.
        file: path of the image.
        size: height and width of the image file as a viewer shows it.
        truth: the G objects, boxes float64.
        detections: the D detections, best score first.
    """

    image_id: int
    file: str
    size: tuple[int, int]
    truth: Instances
    detections: Detections
