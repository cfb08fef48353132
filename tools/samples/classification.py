"""A generated classification data set: ten textures, in a folder for each class.

Only its pattern tells what a texture is: colors, light and noise are drawn alike for every class.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_SPLITS = ("train", "val")  # an image's random numbers hang on the place of its split here
_PIXELS_A_CELL = (5.0, 9.0)  # from one stripe, dot or brick to the next


def write_classification_samples(root: Path, train: int = 2000, val: int = 500, size: int = 40, seed: int = 0) -> None:
    """Write `<split>/<class>/*.png` below `root`.

    An image depends on the seed, its split and its number only, not on how many images there are.

    Args:
        root: folder of the data set; made if it does not exist, and files of the same names are replaced.
        train: number of images of the split `train`; the classes take turns.
        val: number of images of the split `val`.
        size: height and width of each image, in pixels.
        seed: seed of both splits, whose streams of random numbers are still apart.

    Raises:
        ValueError: the images are too small for the patterns.
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
    """Draw textures; image i is of class i modulo 10.

    Args:
        num_images: N.
        size: height and width, in pixels.
        seed: of the random numbers.
        stream: another one gives other images under the same seed.

    Returns:
        (N, size, size, 3) uint8 RGB, and labels (N,) int64, places in `CLASSES`.

    Raises:
        ValueError: the images are too small for the patterns.
    """
    if size < 2 * _PIXELS_A_CELL[1]:
        raise ValueError(f"size is {size}; two cells of a pattern need {2 * _PIXELS_A_CELL[1]:.0f} pixels or more.")
    labels = np.arange(num_images, dtype=np.int64) % len(CLASSES)
    images = np.empty((num_images, size, size, 3), dtype=np.uint8)
    for index, label in enumerate(labels.tolist()):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))
        images[index] = _draw(rng, _PATTERNS[CLASSES[label]], size).astype(np.uint8)
    return images, labels


Field = NDArray[np.float64]


def _draw(rng: np.random.Generator, pattern: Callable[[np.random.Generator, Field, Field], Field], size: int) -> Field:
    """Paint one texture, (size, size, 3) in 0..255."""
    rows, columns = np.mgrid[:size, :size] - size / 2 + rng.uniform(-20, 20, (2, 1, 1))
    turn, cell = rng.uniform(0, 2 * np.pi), rng.uniform(*_PIXELS_A_CELL)
    u = (np.cos(turn) * columns + np.sin(turn) * rows) / cell
    v = (np.cos(turn) * rows - np.sin(turn) * columns) / cell
    weight = pattern(rng, u, v)[:, :, None]  # 0 shows one color, 1 the other
    dark, light = _colors(rng)
    image = dark + weight * (light - dark)
    image *= 1 + rng.uniform(0, 0.35) * np.sin(turn + (u + v)[:, :, None] * rng.uniform(0.05, 0.25))  # uneven light
    image = np.asarray(cv2.GaussianBlur(image, (3, 3), rng.uniform(0.3, 0.8)), dtype=np.float64)
    return (image + rng.uniform(4, 18) * rng.standard_normal((size, size, 1))).clip(0, 255)


def _colors(rng: np.random.Generator) -> tuple[Field, Field]:
    """Return two RGB colors that can be told apart, in any order of brightness."""
    while True:
        first, second = rng.uniform(20, 235, (2, 3))
        if abs(first.mean() - second.mean()) > 45:
            return first, second


def _wave(x: Field) -> Field:
    """Return a soft square wave of period 1 in 0..1."""
    return 0.5 + 0.5 * np.tanh(2.5 * np.sin(2 * np.pi * x))


def _spots(u: Field, v: Field, radius: float) -> Field:
    """Return soft spots of a radius in cells, one in the middle of each cell."""
    distance = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    return 0.5 - 0.5 * np.tanh(9 * (distance - radius))


def _bricks(u: Field, v: Field, shift: float) -> Field:
    """Return joints around bricks of 2 x 1 cells, each row shifted against the one below by a part of a brick."""
    along = u / 2 + shift * np.floor(v)
    return np.maximum(_line(along, 0.09), _line(v, 0.18))


def _line(x: Field, width: float) -> Field:
    return 0.5 - 0.5 * np.tanh(12 * (np.abs(x - np.round(x)) - width))


def _noise(rng: np.random.Generator, u: Field, stretch: int) -> Field:
    """Return clouds of a few pixels, drawn out by a factor along the columns or the rows."""
    sides = rng.permutation([1.6, 1.6 * stretch])
    clouds = cv2.GaussianBlur(rng.standard_normal(u.shape), (0, 0), sigmaX=sides[0], sigmaY=sides[1])
    return 0.5 + 0.5 * np.tanh(1.5 * clouds / clouds.std())


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
