"""Pictures of scans with what a network looked at laid over them."""

from __future__ import annotations

import cv2
import numpy as np

_LEAST_SIDE = 224  # pixels of a picture; small scans are enlarged
_STRENGTH = 0.55  # of the color where a map is 1


def explained(image: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Return an image beside the same with its map in color; of a volume the slice that has the map's highest voxel.

    Args:
        image: (C, H, W) or (C, D, H, W) float, or (I, C, ...) of a study, of any range.
        cam: (H, W), (D, H, W), or (I, ...) of the study, in 0..1.

    Returns:
        (h, 2 * w, 3) uint8 RGB.
    """
    place = np.unravel_index(int(cam.argmax()), cam.shape)
    if image.shape[1:] != cam.shape:  # several images
        image, cam, place = image[place[0]], cam[place[0]], place[1:]
    if cam.ndim == 3:
        image, cam = image[:, place[0]], cam[place[0]]
    gray = image if len(image) == 3 else image[:1].repeat(3, axis=0)
    low, high = float(gray.min()), float(gray.max())
    pixels = ((gray - low) / max(high - low, 1e-6) * 255).astype(np.uint8).transpose(1, 2, 0)
    scale = max(1.0, _LEAST_SIDE / max(pixels.shape[:2]))
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    shown = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    share = cv2.resize(cam.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    heat = cv2.cvtColor(cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    alpha = (_STRENGTH * share)[:, :, None]
    return np.concatenate([shown, (1 - alpha) * shown + alpha * heat], axis=1).astype(np.uint8)
