"""Visualization of masks: palette, overlay and error map."""

from __future__ import annotations

import numpy as np

from vertebra.tasks.reporting.charts import class_color
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

_ALPHA = 0.6  # opacity of the class colors


def palette(num_classes: int) -> np.ndarray:
    """Return the color of each mask value, (256, 3) uint8 RGB; values that are no class are black."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    # `class_color` counts from 1, as detection labels do
    colors[:num_classes] = [class_color(label + 1) for label in range(num_classes)]
    return colors


def overlay(image: np.ndarray, mask: np.ndarray, num_classes: int) -> np.ndarray:
    """Blend a mask (H, W) uint8 over an image (H, W, 3) uint8 RGB; ignored pixels are left unchanged."""
    blended = (1 - _ALPHA) * image + _ALPHA * palette(num_classes)[mask]
    return np.where((mask == IGNORE_INDEX)[..., None], image, np.rint(blended)).astype(np.uint8)


def errors(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return an error map (H, W, 3) uint8 RGB: gray for correct, red for wrong, black for ignored pixels."""
    colors = np.zeros((*mask.shape, 3), dtype=np.uint8)
    colors[mask == labels] = (200, 200, 200)
    colors[mask != labels] = (200, 30, 30)
    colors[mask == IGNORE_INDEX] = 0  # last, since an ignored pixel counts as wrong above
    return colors
