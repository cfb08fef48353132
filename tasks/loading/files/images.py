"""Image reader: upright 8-bit pixels, with an error for every file that is not complete.

Pillow rather than OpenCV: OpenCV silently returns the upper half of a truncated JPEG, Pillow raises.
"""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
from PIL import Image

from vertebra.tasks.loading.files import tiff
from vertebra.tasks.loading.files.bands import deep_bands, open_tiff, read_bands
from vertebra.tasks.loading.files.image_errors import UnreadableImage, named_errors
from vertebra.tasks.loading.files.image_headers import exif_orientation, header_of_image, is_tiff, read_header
from vertebra.tasks.loading.files.pixels import Pixels, UnclearPixels

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

VIEWED = Pixels()  # as a viewer shows images

# the inverse of each EXIF orientation; 1 is upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: str | os.PathLike[str], pixels: Pixels = VIEWED) -> np.ndarray:
    """Read an image as a viewer shows it, or its stored bands, following the pixel rule of a data set.

    Args:
        path: of the file.
        pixels: the rule; by default RGB, upright, transparency composited over white.

    Returns:
        (H, W, C) uint8, upright: RGB with gray repeated, or `pixels.channels` bands.

    Raises:
        UnreadableImage: the file is missing, truncated or not an image, has another number of bands than the rule, or
            values whose white is unknown.
    """
    with named_errors(path):
        if is_tiff(path):
            return _from_tiff(path, pixels)
        with Image.open(path) as image:
            if image.format == "TIFF":
                return _from_tiff(path, pixels)
            turn = exif_orientation(image)
            if pixels.channels is None and _is_of_8_bits(image):
                return _viewed(image, turn)
            return _upright(_by_rule(read_bands(path, image), pixels, has_alpha=image.mode in ("LA", "RGBA")), turn)


def pillow_pixels(image: Image.Image, pixels: Pixels = VIEWED) -> np.ndarray:
    """Return the pixels of an image opened or made with Pillow as `read_image` returns those of its file.

    Returns:
        (H, W, 3) uint8 RGB as a viewer shows it, or the stored bands (H, W, C) or (H, W) of any type where the rule
        asks for bands or Pillow holds more than 8 bits.
    """
    turn = 1 if image.format == "TIFF" else exif_orientation(image)  # Pillow rotates a TIFF upright while loading
    if pixels.channels is None and image.mode[0] not in "IF":
        return _viewed(image, turn)
    return _upright(np.asarray(image.convert("RGB") if image.mode == "P" else image), turn)


def read_for_display(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image for display only, never for a network: deep or multispectral pixels are stretched to 8 bits.

    Returns:
        (H, W, 3) uint8 RGB: as `read_image`, else the first three bands, or the first band as gray.

    Raises:
        UnreadableImage: the file is missing, truncated or not an image.
    """
    with suppress(UnreadableImage):
        return read_image(path)
    with named_errors(path):
        if is_tiff(path):
            values, turn = read_bands(path, None), tiff.read_layout(path)[0].orientation
        else:
            with Image.open(path) as image:
                values, turn = read_bands(path, image), exif_orientation(image)
        shown = values[..., :3] if values.shape[2] > 2 else values[..., :1]
        known = np.isfinite(shown)
        low, high = (float(limit) for limit in np.percentile(shown[known], (1, 99))) if known.any() else (0.0, 0.0)
        shown = (np.where(known, shown, low).astype(np.float64) - low) * (255 / ((high - low) or 1.0))
        shown = np.clip(shown, 0, 255).astype(np.uint8)
        return _upright(np.repeat(shown, 3 // shown.shape[2], axis=2), turn)


def decode_image(path: str | os.PathLike[str], pixels: Pixels = VIEWED) -> tuple[tuple[int, int], tuple[int, int]]:
    """Decode the whole file, as cheaply as its format allows, to verify that `read_image` can read it.

    Returns:
        (height, width) as a viewer shows the image, and (height, width) as stored, before the EXIF rotation.

    Raises:
        UnreadableImage: as `read_image`.
    """
    with named_errors(path):
        if not is_tiff(path):
            with Image.open(path) as image:
                if image.format != "TIFF":
                    header = header_of_image(image)
                    if pixels.channels is None and _is_of_8_bits(image):
                        image.draft(None, (1, 1))  # reads a JPEG to its end, but decodes at an eighth of the size
                        image.load()
                    else:
                        read_image(path, pixels)
                    return header.shown, header.stored
        read_image(path, pixels)
        return read_header(path)[:2]


def _is_of_8_bits(image: Image.Image) -> bool:
    return image.mode[0] not in "IF" and not deep_bands(image)


def _from_tiff(path: str | os.PathLike[str], pixels: Pixels) -> np.ndarray:
    pages = tiff.read_layout(path)
    is_plain = pixels.channels is None and tiff.is_plain(pages)
    if is_plain and not (pages[0].bands == 4 and pages[0].photometric == tiff.RGB):
        with open_tiff(path) as image:
            return _viewed(image, 1)  # Pillow rotates a TIFF upright while loading
    values = read_bands(path, None)
    if is_plain:
        if values[..., 3:].min(initial=255) < 255:  # may be near infrared, not transparency
            raise _too_many(4, "a fourth band beside red, green and blue")
        values = values[..., :3]
    if pixels.channels is None and values.shape[2] not in (1, 3):
        raise _too_many(values.shape[2], f"{values.shape[2]} bands" + (f" in {len(pages)} pages" if pages[1:] else ""))
    if pixels.channels is None and len(pages) > 1:
        raise _too_many(values.shape[2], f"{len(pages)} pages")
    return _upright(_by_rule(values, pixels), pages[0].orientation)


def _too_many(bands: int, content: str) -> UnclearPixels:
    return UnclearPixels(
        f"holds {content}, more than the three channels of RGB; set data.pixels.channels={bands} and "
        f"model.network.in_channels={bands} to use all, or save the files as RGB"
    )


def _viewed(image: Image.Image, turn: int) -> np.ndarray:
    """Return (H, W, 3) uint8 of an image of 8 bits."""
    image.load()
    if image.has_transparency_data:
        upright = Image.new("RGBA", image.size, "white")
        upright.alpha_composite(image.convert("RGBA"))
        upright = upright.convert("RGB")
    else:
        upright = image if image.mode == "RGB" else image.convert("RGB")
    if turn in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[turn])
    return np.array(upright)


def _by_rule(values: np.ndarray, pixels: Pixels, has_alpha: bool = False) -> np.ndarray:
    """Return stored values as (H, W, C) uint8 with the channels of the rule."""
    if pixels.channels is not None:
        if values.shape[2] != pixels.channels:
            raise UnclearPixels(
                f"has {values.shape[2]} bands, but data.pixels.channels is {pixels.channels}; convert the file, or set "
                "data.pixels.channels to the number that all files have"
            )
        return pixels.scaled(values)
    if not has_alpha:
        scaled = pixels.scaled(values)
        return scaled if scaled.shape[2] == 3 else np.repeat(scaled, 3, axis=2)
    colors, alpha = pixels.scaled(values[..., :-1]), (values[..., -1:].astype(np.float32) / 65535)
    return np.rint(np.broadcast_to(colors, (*colors.shape[:2], 3)) * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _upright(values: np.ndarray, turn: int) -> np.ndarray:
    """Rotate and flip (H, W, C) according to its EXIF orientation."""
    if turn in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        values = values[::-1]
    if turn in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)
