"""Synthetic classification data set: ten texture classes, one folder per class.

Classes differ in their pattern only: colors, lighting and noise have the same distribution in all of them, so that a
network cannot classify by color or brightness.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_SPLITS = ("train", "val")  # the index of a split is part of the random seed: do not reorder
_PERIOD = (5.0, 9.0)  # pixels from one stripe, dot or brick to the next


def write_classification_samples(root: Path, train: int = 2000, val: int = 500, size: int = 40, seed: int = 0) -> None:
    """Write `<split>/<class>/*.png` below `root`.

    An image depends on the seed, its split and its index only, not on the number of images.

    Args:
        root: folder of the data set; created if missing, and files of the same names are overwritten.
        train: number of training images, balanced over the classes.
        val: number of validation images.
        size: height and width in pixels.
        seed: random seed; the splits use independent streams of it.

    Raises:
        ValueError: `size` is too small for the patterns.
    """
    for split, num_images in zip(_SPLITS, (train, val), strict=True):
        images, labels = draw_textures(num_images, size, seed, _SPLITS.index(split))
        for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            file = root / split / CLASSES[label] / f"{index:06d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())


def draw_textures(
    num_images: int, size: int, seed: int = 0, stream: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Generate textures; image i has class i modulo 10.

    Args:
        num_images: N.
        size: height and width in pixels.
        seed: random seed.
        stream: index of an independent stream of random numbers under the same seed.

    Returns:
        Images (N, size, size, 3) uint8 RGB, and labels (N,) int64, indices into `CLASSES`.

    Raises:
        ValueError: `size` is too small for the patterns.
    """
    # with fewer than two periods, stripes, grids and bricks look alike
    if size < 2 * _PERIOD[1]:
        raise ValueError(f"size is {size}; two periods of a pattern need at least {2 * _PERIOD[1]:.0f} pixels.")
    labels = np.arange(num_images, dtype=np.int64) % len(CLASSES)
    images = np.empty((num_images, size, size, 3), dtype=np.uint8)
    for index, label in enumerate(labels.tolist()):
        # one generator per image, so that images do not depend on those before them
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))
        images[index] = _draw(rng, _PATTERNS[CLASSES[label]], size).astype(np.uint8)
    return images, labels


Field = NDArray[np.float64]


def _draw(rng: np.random.Generator, pattern: Callable[[np.random.Generator, Field, Field], Field], size: int) -> Field:
    """Render one texture, (size, size, 3) in 0..255."""
    rows, columns = np.mgrid[:size, :size] - size / 2 + rng.uniform(-20, 20, (2, 1, 1))
    angle, period = rng.uniform(0, 2 * np.pi), rng.uniform(*_PERIOD)
    # rotated coordinates in periods: patterns are written for period 1 and no rotation
    u = (np.cos(angle) * columns + np.sin(angle) * rows) / period
    v = (np.cos(angle) * rows - np.sin(angle) * columns) / period
    weight = pattern(rng, u, v)[:, :, None]  # 0 is the first color, 1 the second
    first, second = _colors(rng)
    image = first + weight * (second - first)
    # uneven lighting, as a low-frequency wave
    image *= 1 + rng.uniform(0, 0.35) * np.sin(angle + (u + v)[:, :, None] * rng.uniform(0.05, 0.25))
    image = np.asarray(cv2.GaussianBlur(image, (3, 3), rng.uniform(0.3, 0.8)), dtype=np.float64)
    return (image + rng.uniform(4, 18) * rng.standard_normal((size, size, 1))).clip(0, 255)


def _colors(rng: np.random.Generator) -> tuple[Field, Field]:
    """Draw two RGB colors of distinguishable brightness, in either order."""
    while True:
        first, second = rng.uniform(20, 235, (2, 3))
        if abs(first.mean() - second.mean()) > 45:  # well above the noise, whose standard deviation is at most 18
            return first, second


def _wave(x: Field) -> Field:
    """Return a soft square wave of period 1 in 0..1."""
    return 0.5 + 0.5 * np.tanh(2.5 * np.sin(2 * np.pi * x))


def _spots(u: Field, v: Field, radius: float) -> Field:
    """Return soft spots of a radius in periods, one at the center of each cell."""
    distance = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    return 0.5 - 0.5 * np.tanh(9 * (distance - radius))


def _bricks(u: Field, v: Field, shift: float) -> Field:
    """Return the joints of bricks of 2 x 1 periods, each row shifted by a fraction of a brick against the last."""
    along = u / 2 + shift * np.floor(v)
    return np.maximum(_line(along, 0.09), _line(v, 0.18))


def _line(x: Field, width: float) -> Field:
    """Return soft lines of a half width at all integers."""
    return 0.5 - 0.5 * np.tanh(12 * (np.abs(x - np.round(x)) - width))


def _noise(rng: np.random.Generator, u: Field, stretch: int) -> Field:
    """Return smooth noise of a few pixels, stretched by a factor along columns or rows."""
    sides = rng.permutation([1.6, 1.6 * stretch])
    clouds = cv2.GaussianBlur(rng.standard_normal(u.shape), (0, 0), sigmaX=sides[0], sigmaY=sides[1])
    return 0.5 + 0.5 * np.tanh(1.5 * clouds / clouds.std())


# in alphabetical order, as a reader of folders finds the classes
_PATTERNS: dict[str, Callable[[np.random.Generator, Field, Field], Field]] = {
    "bricks": lambda rng, u, v: _bricks(u, v, shift=0.5),
    "checks": lambda rng, u, v: _wave(u / 1.4) * _wave(v / 1.4) + (1 - _wave(u / 1.4)) * (1 - _wave(v / 1.4)),
    "clouds": lambda rng, u, v: _noise(rng, u, stretch=1),
    "dots": lambda rng, u, v: _spots(u, v, radius=0.3),
    "grid": lambda rng, u, v: np.maximum(_line(u, 0.14), _line(v, 0.14)),
    "hatching": lambda rng, u, v: np.maximum(_line(u, 0.13), _line(u * np.cos(1.05) + v * np.sin(1.05), 0.13)),
    "rings": lambda rng, u, v: _wave(np.hypot(u, v)),
    "stripes": lambda rng, u, v: _wave(u),
    "waves": lambda rng, u, v: _wave(u + 0.35 * np.sin(2 * np.pi * v / 1.6)),
    "wood": lambda rng, u, v: _noise(rng, u, stretch=6),
}
CLASSES = tuple(_PATTERNS)
