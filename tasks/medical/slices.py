"""Overlays of Grad-CAM maps on images and slices."""

from __future__ import annotations

import cv2
import numpy as np

_MIN_SIDE = 224  # pixels; smaller scans are enlarged to be legible in a report
_MAX_ALPHA = 0.55  # opacity where the map is 1: anatomy below stays visible


def overlay(image: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Return an image side by side with its heatmap overlay; of a volume the slice with the maximum of the map.

    Args:
        image: (C, H, W) or (C, D, H, W) float, or (I, C, ...) of a study, of any range.
        cam: Grad-CAM map, (H, W), (D, H, W), or (I, ...) of a study, in 0..1.

    Returns:
        (h, 2 * w, 3) uint8 RGB.
    """
    peak = np.unravel_index(int(cam.argmax()), cam.shape)
    if image.shape[1:] != cam.shape:  # a study of several images: take the one with the peak
        image, cam, peak = image[peak[0]], cam[peak[0]], peak[1:]
    if cam.ndim == 3:
        image, cam = image[:, peak[0]], cam[peak[0]]
    pixels = _displayed(image)
    scale = max(1.0, _MIN_SIDE / max(pixels.shape[:2]))
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    base = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    weight = cv2.resize(cam.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    heat = cv2.cvtColor(cv2.applyColorMap((weight * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    alpha = (_MAX_ALPHA * weight)[:, :, None]
    return np.concatenate([base, (1 - alpha) * base + alpha * heat], axis=1).astype(np.uint8)


def middle_slice(image: np.ndarray) -> np.ndarray:
    """Return the middle slice of a scan (C, H, W) or (C, D, H, W) of any range for display, (H, W, 3) uint8."""
    return _displayed(image if image.ndim == 3 else image[:, image.shape[1] // 2])


def _displayed(image: np.ndarray) -> np.ndarray:
    gray = image if len(image) == 3 else image[:1].repeat(3, axis=0)
    # full contrast of this slice: intensities are on any scale, such as standardized MR
    low, high = float(gray.min()), float(gray.max())
    return ((gray - low) / max(high - low, 1e-6) * 255).astype(np.uint8).transpose(1, 2, 0)
