"""Masks as pictures."""

from __future__ import annotations

import numpy as np

from vertebra.tasks.reporting.charts import class_color
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

_STRENGTH = 0.6  # of the colors over the image


def palette(num_classes: int) -> np.ndarray:
    """Return the color of each value of a mask, (256, 3) uint8 RGB; what is no class is black."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[:num_classes] = [class_color(label + 1) for label in range(num_classes)]
    return colors


def overlay(image: np.ndarray, mask: np.ndarray, num_classes: int) -> np.ndarray:
    """Draw a mask (H, W) uint8 over an image (H, W, 3) uint8 RGB; ignored pixels stay as they are."""
    blended = (1 - _STRENGTH) * image + _STRENGTH * palette(num_classes)[mask]
    return np.where((mask == IGNORE_INDEX)[..., None], image, np.rint(blended)).astype(np.uint8)


def errors(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a map (H, W, 3) uint8 RGB: red where the prediction is wrong, gray where it is right, black elsewhere."""
    colors = np.zeros((*mask.shape, 3), dtype=np.uint8)
    colors[mask == labels] = (200, 200, 200)
    colors[mask != labels] = (200, 30, 30)
    colors[mask == IGNORE_INDEX] = 0
    return colors
