"""Synthetic instance segmentation data set: the shapes of the detection data set, a mask and a hue for each class.

Hue, as in the segmentation data set, makes the classes learnable in minutes; what is left to learn are overlaps and
borders.
"""

from __future__ import annotations

from pathlib import Path

from vertebra.tools.samples.detection import write_detection_samples
from vertebra.tools.samples.segmentation import hues


def write_instance_samples(root: Path, train: int = 800, val: int = 150, size: tuple[int, int] = (128, 160)) -> None:
    """Write images and COCO annotations with run lengths below `root`, as `write_detection_samples` does.

    Args:
        root: folder of the data set.
        train: number of training images.
        val: number of validation images.
        size: (height, width) in pixels.
    """
    write_detection_samples(root, train, val, size, max_objects=4, masks=True, colors_of=hues)
