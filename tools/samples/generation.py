"""Synthetic data set of a generator: colored shapes on dark ground, one folder per class.

The class is the outline alone: size, place, rotation and colors have the same distribution in all classes.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

_SPLITS = ("train", "val")  # the index of a split is part of the random seed: do not reorder
_OVERSAMPLING = 4  # outlines are drawn larger and averaged, so that they are smooth
_SHIFT = 4  # fractional bits of OpenCV's coordinates


def write_generation_samples(root: Path, train: int = 3000, val: int = 600, size: int = 32, seed: int = 0) -> None:
    """Write `<split>/<class>/*.png` below `root`.

    An image depends on the seed, its split and its index only, not on the number of images.

    Args:
        root: folder of the data set; created if missing, and files of the same names are overwritten.
        train: number of training images, balanced over the classes.
        val: number of validation images.
        size: height and width in pixels.
        seed: random seed; the splits use independent streams of it.
    """
    for stream, (split, number) in enumerate(zip(_SPLITS, (train, val), strict=True)):
        for index in range(number):
            name = CLASSES[index % len(CLASSES)]
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))
            file = root / split / name / f"{index:06d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(cv2.imencode(".png", _draw(rng, name, size)[:, :, ::-1])[1].tobytes())


def _draw(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    """Draw a shape, (size, size, 3) uint8 RGB."""
    side = size * _OVERSAMPLING
    radius = rng.uniform(0.28, 0.4) * side
    center = side / 2 + rng.uniform(-0.08, 0.08, 2) * side
    outline = _outline(name) @ _rotation(rng.uniform(-np.pi / 12, np.pi / 12)).T
    points = np.round((center + radius * outline) * 2**_SHIFT).astype(np.int32)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [points], 255, shift=_SHIFT)
    if name == "ring":
        place = np.round(center * 2**_SHIFT).astype(int).tolist()
        cv2.circle(mask, place, round(0.55 * radius * 2**_SHIFT), 0, cv2.FILLED, shift=_SHIFT)
    weight = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)[:, :, None] / 255
    ground, color = rng.uniform(10, 60, 3), _color(rng)
    return np.round(ground + weight * (color - ground)).astype(np.uint8)


def _color(rng: np.random.Generator) -> np.ndarray:
    """Draw a bright color, (3,) RGB, of any hue."""
    pixel = np.array([[[rng.integers(0, 180), rng.integers(120, 230), rng.integers(190, 256)]]], np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(float)


def _outline(name: str) -> np.ndarray:
    """Return the outline of a shape of radius 1, (P, 2) as x and y."""
    if name == "cross":
        arm = 0.34
        corner = np.array([[arm, arm], [arm, 1.0], [-arm, 1.0]])  # of one of four arms
        return np.concatenate([corner @ _rotation(turn * np.pi / 2).T for turn in range(4)])
    corners = {"triangle": 3, "square": 4, "star": 10, "disc": 64, "ring": 64}[name]
    angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2  # the first one at the top
    if name == "square":
        angles += np.pi / 4
    radii = np.where(np.arange(corners) % 2, 0.45, 1.0) if name == "star" else np.ones(corners)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


# in alphabetical order, as a reader of folders finds the classes
CLASSES = ("cross", "disc", "ring", "square", "star", "triangle")
