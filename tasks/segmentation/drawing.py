"""Visualization of masks: palette, overlay and error map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vertebra.tasks.reporting.charts import class_color
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

_ALPHA = 0.6  # opacity of the class colors
_BACKGROUND_NAMES = ("background", "bg")


def palette(num_classes: int) -> np.ndarray:
    """Return the color of each mask value, (256, 3) uint8 RGB; values that are no class are black."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    # `class_color` counts from 1, as detection labels do
    colors[:num_classes] = [class_color(label + 1) for label in range(num_classes)]
    return colors


def overlay(image: np.ndarray, mask: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Blend a mask over an image, which stays as it is at ignored pixels and those of a background.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, labels in 0..K-1 or `IGNORE_INDEX`.
        class_names: the K classes.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    blended = (1 - _ALPHA) * image + _ALPHA * palette(len(class_names))[mask]
    is_plain = np.isin(mask, [IGNORE_INDEX, *_backgrounds(class_names)])
    return np.where(is_plain[..., None], image, np.rint(blended)).astype(np.uint8)


def legend(class_names: Sequence[str]) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Return the names of the classes that `overlay` tints, and their colors."""
    backgrounds = _backgrounds(class_names)
    tinted = [label for label in range(len(class_names)) if label not in backgrounds]
    return [class_names[label] for label in tinted], [class_color(label + 1) for label in tinted]


def present(mask: np.ndarray, class_names: Sequence[str]) -> str:
    """Return the names of the classes in a mask (H, W) uint8, without backgrounds, most pixels first."""
    counts = np.bincount(mask.ravel(), minlength=256)[: len(class_names)]
    counts[_backgrounds(class_names)] = 0
    return ", ".join(class_names[label] for label in np.argsort(-counts, kind="stable").tolist() if counts[label])


def _backgrounds(class_names: Sequence[str]) -> list[int]:
    return [label for label, name in enumerate(class_names) if name.strip(" _").lower() in _BACKGROUND_NAMES]


def errors(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return an error map (H, W, 3) uint8 RGB: gray for correct, red for wrong, black for ignored pixels."""
    colors = np.zeros((*mask.shape, 3), dtype=np.uint8)
    colors[mask == labels] = (200, 200, 200)
    colors[mask != labels] = (200, 30, 30)
    colors[mask == IGNORE_INDEX] = 0  # last, since an ignored pixel counts as wrong above
    return colors
