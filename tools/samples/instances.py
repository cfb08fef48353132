"""Synthetic instance segmentation data set: the shapes of the detection data set with a mask for each."""

from __future__ import annotations

from pathlib import Path

from vertebra.tools.samples.detection import write_detection_samples


def write_instance_samples(root: Path, train: int = 1000, val: int = 150, size: tuple[int, int] = (128, 160)) -> None:
    """Write images and COCO annotations with run lengths below `root`, as `write_detection_samples` does.

    Args:
        root: folder of the data set.
        train: number of training images.
        val: number of validation images.
        size: (height, width) in pixels.
    """
    write_detection_samples(root, train, val, size, max_objects=4, masks=True)
