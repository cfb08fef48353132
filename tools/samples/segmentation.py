"""Synthetic segmentation data set: the shapes of the detection data set, each class with its own hue.

Hue makes the task learnable in minutes. Backgrounds have all hues at low saturation, and the same textures and
brightness as shapes, so that none of these alone separates them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vertebra.tools.samples.detection import CATEGORIES, JPEG_QUALITY, draw_image

CLASSES = ("background", *CATEGORIES.values())
_SPLITS = ("train", "val")  # the index of a split is part of the random seed: do not reorder


def write_segmentation_samples(
    root: Path,
    train: int = 600,
    val: int = 120,
    size: tuple[int, int] = (128, 160),
    seed: int = 0,
    max_objects: int = 4,
) -> None:
    """Write `images/<split>/*.jpg`, `masks/<split>/*.png` and `classes.txt` below `root`.

    An image depends on the seed, its split and its index only, not on the number of images.

    Args:
        root: folder of the data set; created if missing, and files of the same names are overwritten.
        train: number of training images.
        val: number of validation images.
        size: (height, width) in pixels.
        seed: random seed; the splits use independent streams of it.
        max_objects: maximum number of objects per image.
    """
    for split, num_images in zip(_SPLITS, (train, val), strict=True):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(num_images):
            stream = np.random.SeedSequence(seed, spawn_key=(_SPLITS.index(split), index))
            sample = draw_image(np.random.default_rng(stream), size, max_objects, hues)
            mask = np.zeros(size, dtype=np.uint8)
            # masks hold indices into classes.txt, and COCO's category ids have gaps
            for category_id, visible in zip(sample.category_ids, sample.masks, strict=True):
                mask[visible] = CLASSES.index(CATEGORIES[category_id])
            _write(root / "images" / split / f"{index:06d}.jpg", sample.image[:, :, ::-1])
            _write(root / "masks" / split / f"{index:06d}.png", mask)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")


def hues(rng: np.random.Generator, category_id: int, number: int) -> NDArray[np.float64]:
    """Return RGB colors (number, 3) in 0..255: near the hue of a category, or desaturated for the background (0)."""
    degrees, saturation = rng.uniform(0, 360, number), rng.uniform(0, 0.25, number)
    if category_id:
        index = list(CATEGORIES).index(category_id)
        # 0.3 of the distance between hues to both sides leaves a gap between the classes
        degrees = 360 / len(CATEGORIES) * (index + rng.uniform(-0.3, 0.3, number)) % 360
        saturation = rng.uniform(0.45, 1, number)
    hsv = np.stack([degrees, saturation, rng.uniform(0.3, 0.95, number)], axis=1)
    return 255 * cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0].astype(np.float64)


def _write(file: Path, image: NDArray[np.uint8]) -> None:
    options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY) if file.suffix == ".jpg" else ()
    file.write_bytes(cv2.imencode(file.suffix, image, options)[1].tobytes())
