"""Mask files: the stored values, and colors only where the classes are colors."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from vertebra.tasks.loading.files.image_errors import opened

LOSSY_SUFFIXES = frozenset({".jpeg", ".jpg"})
NOT_LOSSY = "JPEG changes pixel values, and so labels, along every edge. Export the masks again as PNG"


def read_values(path: str | os.PathLike[str], in_color: bool = False) -> np.ndarray:
    """Read a mask.

    Args:
        path: of the file.
        in_color: whether the colors are meant, and not the numbers.

    Returns:
        (H, W), the gray values or the indices into the palette as uint8, or the colors as int64,
        `red * 65536 + green * 256 + blue`.

    Raises:
        UnreadableImage: the file is missing, truncated, not an image, a JPEG or partly transparent; or it is in color
            where numbers are meant, has values above 255, or a palette that leaves open which numbers are meant.
    """
    with opened(path) as image:
        # MPO is what phones write: a JPEG with further pictures
        if image.format in ("JPEG", "MPO"):
            raise ValueError(f"it is a JPEG; {NOT_LOSSY}")
        if image.mode in ("RGBA", "LA", "PA"):
            alpha = np.array(image.getchannel("A"))
            if alpha.min() < 255:
                raise ValueError(
                    f"{np.count_nonzero(alpha < 255)} of its pixels are transparent; expected a mask without "
                    "transparency, in which every pixel has one value"
                )
        if in_color:
            # one number per color, which is looked up like a gray value
            return np.array(image.convert("RGB")).astype(np.int64) @ np.array((1 << 16, 1 << 8, 1))
        return _values(image)


def _values(image: Image.Image) -> np.ndarray:
    if image.mode in ("P", "L", "1"):
        if image.mode == "P":
            _check_palette(image)
        return np.array(image, dtype=np.uint8)
    # how Pillow opens 16-bit PNG and TIFF, which some tools write for a few small labels
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.array(image)
        if values.min() < 0 or values.max() > 255:
            raise ValueError(f"its values are {values.min()}..{values.max()}, expected 0..255: one number a class")
        return values.astype(np.uint8)
    if image.mode in ("RGB", "RGBA", "LA"):  # gray that was saved as color, or with an opaque alpha channel
        pixels = np.array(image)
        gray = pixels[..., 0]
        if image.mode == "LA" or ((pixels[..., 1] == gray).all() and (pixels[..., 2] == gray).all()):
            return gray
    raise ValueError(
        f"its mode is {image.mode}; expected a gray or palette image with one number a class, or data.classes with "
        "lines `R G B name` that map its colors to classes"
    )


def _check_palette(image: Image.Image) -> None:
    """Refuse a palette of grays in another order than their indices: programs that compress PNG renumber gray masks.

    The indices of such a file are not the numbers that were drawn, and may have another order in every file. A palette
    in color (Pascal VOC's) only serves the display.
    """
    palette = np.array(image.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)
    used = np.flatnonzero(image.histogram())
    # a file may have a shorter palette than its largest index
    used = used[used < len(palette)]
    grays = palette[used]
    if (grays == grays[:, :1]).all() and (np.diff(grays[:, 0]) < 0).any():
        pairs = ", ".join(f"{index} is gray {gray}" for index, gray in zip(used[:4], grays[:4, 0], strict=True))
        raise ValueError(
            f"its palette has grays in another order than their indices ({pairs}), so that it is open which of both "
            "are the classes; expected a gray image. Save the mask without a palette"
        )
