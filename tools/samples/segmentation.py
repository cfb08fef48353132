"""A generated segmentation data set: the shapes of the detection samples in the hues of their classes.

Grounds are duller than shapes and have all hues; both have textures and all brightnesses.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vertebra.tools.samples.detection import CATEGORIES, JPEG_QUALITY, draw_image

CLASSES = ("background", *CATEGORIES.values())
_SPLITS = ("train", "val")  # an image's random numbers hang on the place of its split here


def write_segmentation_samples(
    root: Path,
    train: int = 600,
    val: int = 120,
    size: tuple[int, int] = (128, 160),
    seed: int = 0,
    max_objects: int = 4,
) -> None:
    """Write `images/<split>/*.jpg`, `masks/<split>/*.png` and `classes.txt` below `root`.

    An image depends on the seed, its split and its number only, not on how many images there are.

    Args:
        root: folder of the data set; made if it does not exist, and files of the same names are replaced.
        train: number of images of the split `train`.
        val: number of images of the split `val`.
        size: (height, width) of each image, in pixels.
        seed: seed of both splits, whose streams of random numbers are still apart.
        max_objects: most objects that an image holds.
    """
    for split, num_images in zip(_SPLITS, (train, val), strict=True):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(num_images):
            stream = np.random.SeedSequence(seed, spawn_key=(_SPLITS.index(split), index))
            drawn = draw_image(np.random.default_rng(stream), size, max_objects, _hues)
            mask = np.zeros(size, dtype=np.uint8)
            for category_id, area in zip(drawn.category_ids, drawn.masks, strict=True):
                mask[area] = CLASSES.index(CATEGORIES[category_id])
            _write(root / "images" / split / f"{index:06d}.jpg", drawn.image[:, :, ::-1])
            _write(root / "masks" / split / f"{index:06d}.png", mask)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")


def _hues(rng: np.random.Generator, category_id: int, number: int) -> NDArray[np.float64]:
    """Return colors (number, 3) RGB in 0..255: around the hue of a category, or dull ones for the ground (0)."""
    degrees, saturation = rng.uniform(0, 360, number), rng.uniform(0, 0.25, number)
    if category_id:
        place = list(CATEGORIES).index(category_id)
        degrees = 360 / len(CATEGORIES) * (place + rng.uniform(-0.3, 0.3, number)) % 360
        saturation = rng.uniform(0.45, 1, number)
    hsv = np.stack([degrees, saturation, rng.uniform(0.3, 0.95, number)], axis=1)
    return 255 * cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0].astype(np.float64)


def _write(file: Path, image: NDArray[np.uint8]) -> None:
    options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY) if file.suffix == ".jpg" else ()
    file.write_bytes(cv2.imencode(file.suffix, image, options)[1].tobytes())
