"""Images by name: files on disk, and images in memory that a program passes in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from vertebra.tasks.loading.files.images import VIEWED, pillow_pixels, read_for_display, read_image
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.files.tensors import as_array, is_tensor


@dataclass(frozen=True)
class ImageSource:
    """Reader of images under the pixel rule of a data set.

    Args:
        rule: channels of the images and their value range.
        given: images in memory by name, see `image_pixels`; every other name is the path of a file.
    """

    rule: Pixels = field(default_factory=lambda: VIEWED)
    given: Mapping[str, Any] = field(default_factory=dict)

    def read(self, name: str) -> np.ndarray:
        """Return an image for a network, (H, W, C) uint8.

        Raises:
            UnreadableImage: the file is missing, truncated or no image.
            ValueError: an image in memory has an unclear shape or range.
        """
        if name in self.given:
            return image_pixels(self.given[name], name, self.rule)
        return read_image(name, self.rule)

    def read_for_display(self, name: str) -> np.ndarray:
        """Return an image for display, (H, W, 3) uint8 RGB; errors as for `read`."""
        if name not in self.given:
            return read_for_display(name)
        pixels = self.read(name)
        return pixels[..., :3] if pixels.shape[2] > 2 else np.repeat(pixels[..., :1], 3, axis=2)


def image_pixels(image: Any, name: str, rule: Pixels = VIEWED) -> np.ndarray:
    """Convert an image in memory to 8-bit pixels.

    Args:
        image: a Pillow image; a NumPy array (H, W) or (H, W, C), RGB; or a tensor (C, H, W) or (H, W). Integers are
            values as files have them; floating-point values are in 0..1 unless the rule has a white. Not normalized.
        name: for messages.
        rule: channels and value range.

    Returns:
        (H, W, C) uint8; gray is repeated to RGB where the rule takes what a viewer shows.

    Raises:
        ValueError: another type or shape, or values out of range.
    """
    if isinstance(image, Image.Image):
        values = pillow_pixels(image, rule)
    else:
        values = as_array(image)
        values = np.moveaxis(values, 0, 2) if is_tensor(image) and values.ndim == 3 else values
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or not values.size or values.dtype.kind not in "buif":
        raise ValueError(
            f"{name}: is a {type(image).__name__} of shape {tuple(values.shape)} and type {values.dtype}; expected a "
            "Pillow image, an array (H, W, 3) or (H, W), or a tensor (3, H, W). Convert it, or give several in a list."
        )
    wanted = (rule.channels,) if rule.channels else (1, 3)
    if values.shape[2] not in wanted:
        turned = " It seems to be a tensor's layout in an array: use np.moveaxis(image, 0, 2)." * (
            values.shape[0] in wanted and not is_tensor(image)
        )
        raise ValueError(
            f"{name}: has {values.shape[2]} channels in shape {tuple(values.shape)} (height, width, channels); the "
            f"model takes {' or '.join(map(str, wanted))}. Convert the image.{turned}"
        )
    scaled = np.ascontiguousarray(_to_bytes(values, name, rule))
    return np.repeat(scaled, 3, axis=2) if rule.channels is None and scaled.shape[2] == 1 else scaled


def _to_bytes(values: np.ndarray, name: str, rule: Pixels) -> np.ndarray:
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f" and rule.white is None:
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # also of NaN
            raise ValueError(
                f"{name}: has floating-point values in {low:g}..{high:g}; expected 0..1, not normalized (the model "
                "does that). Scale the values, or convert them to uint8 in 0..255."
            )
        return np.rint(values * 255).astype(np.uint8)
    if values.dtype.kind in "ui" and rule.white is None and values.dtype != np.uint16:
        if values.min() < 0 or values.max() > 255:
            raise ValueError(
                f"{name}: has {values.dtype} values in {values.min()}..{values.max()}; expected 0..255. Scale the "
                "values and convert them to uint8."
            )
        return values.astype(np.uint8)
    return rule.scaled(values)
