"""A generated detection data set in COCO format: five shapes that overlap on textured grounds.

Only its shape tells what an object is: color, texture, size, rotation and place are drawn alike for every category.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# with gaps, as in COCO itself: whoever takes an id for an index is found out here
CATEGORIES = {1: "disc", 3: "ring", 7: "square", 8: "triangle", 12: "star"}

EMPTY_SHARE = 0.03  # of the images hold no object at all
MIN_EXTENT = 14  # pixels across the smallest object
MAX_EXTENT = 0.6  # of the image's short side across the largest
MIN_VISIBLE = 0.45  # of an object's area; what shows less is taken away, for it could not be told
JPEG_QUALITY = 92

_SPLITS = ("train", "val")  # an image's random numbers hang on the place of its split here
_SHIFT = 4  # polygon corners are drawn to 1/16 pixel


class DrawnImage(NamedTuple):
    """A picture and the truth about it.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        category_ids: key of `CATEGORIES` of each of the N objects.
        masks: (N, H, W) bool, the visible pixels of each object; no pixel is in two of them.
    """

    image: NDArray[np.uint8]
    category_ids: list[int]
    masks: NDArray[np.bool_]


class _Shape(NamedTuple):
    """An object before it is painted: how much of each pixel it covers, (H, W) uint8, and which pixels show it."""

    category_id: int
    coverage: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    whole_area: float  # in pixels, with what lies beyond the border


def write_detection_samples(
    root: Path,
    train: int = 1000,
    val: int = 200,
    size: tuple[int, int] = (160, 192),
    seed: int = 0,
    max_objects: int = 6,
) -> None:
    """Write `images/<split>/*.jpg` and `annotations/<split>.json` in COCO's format below `root`.

    An image depends on the seed, its split and its number only, not on how many images there are.

    Args:
        root: folder of the data set; made if it does not exist, and files of the same names are replaced.
        train: number of images of the split `train`.
        val: number of images of the split `val`.
        size: (height, width) of each image, in pixels.
        seed: seed of both splits, whose streams of random numbers are still apart.
        max_objects: most objects that an image holds.

    Raises:
        ValueError: the images are too small for the objects, or `max_objects` is below 1.
    """
    if min(size) < 2 * MIN_EXTENT:
        raise ValueError(f"size is {size}; objects are {MIN_EXTENT} pixels or more, so give {2 * MIN_EXTENT} or more.")
    if max_objects < 1:
        raise ValueError(f"max_objects is {max_objects}; an image needs room for at least 1.")
    for split, num_images in zip(_SPLITS, (train, val), strict=True):
        folder = root / "images" / split
        folder.mkdir(parents=True, exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(num_images):
            stream = np.random.SeedSequence(seed, spawn_key=(_SPLITS.index(split), index))
            drawn = draw_image(np.random.default_rng(stream), size, max_objects)
            name = f"{index:06d}.jpg"
            (folder / name).write_bytes(_jpeg(drawn.image))
            images.append({"id": index + 1, "file_name": name, "width": size[1], "height": size[0]})
            for category_id, mask in zip(drawn.category_ids, drawn.masks, strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index + 1,
                        "category_id": category_id,
                        "bbox": _box(mask),
                        "area": float(mask.sum()),
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": category_id, "name": name} for category_id, name in CATEGORIES.items()]
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"{split}.json").write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories}), encoding="utf-8"
        )


def draw_image(
    rng: np.random.Generator,
    size: tuple[int, int],
    max_objects: int,
    colors_of: Callable[[np.random.Generator, int, int], NDArray[np.float64]] | None = None,
) -> DrawnImage:
    """Draw one picture.

    Args:
        rng: of all that chance decides.
        size: (height, width).
        max_objects: most objects that it holds; it may hold none.
        colors_of: draws colors of a category, or of the ground (0), so many (M, 3), of which one is chosen; None
            draws them alike for all.
    """
    num_objects = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, max_objects + 1))
    shapes = _drop_hidden([_place(rng, size) for _ in range(num_objects)])

    draw = colors_of or (lambda rng, _, number: _muted_colors(rng, number))
    colors = [draw(rng, 0, 1)[0]]
    canvas = _paint(rng, colors[0], size)
    for shape in shapes:
        colors.append(_most_distinct(draw(rng, shape.category_id, 12), colors))
        x, y, width, height = cv2.boundingRect(shape.coverage)
        alpha = shape.coverage[y : y + height, x : x + width, None] / np.float32(255)
        patch = canvas[y : y + height, x : x + width]
        patch += alpha * (_paint(rng, colors[-1], (height, width)) - patch)

    canvas *= 1 + 0.15 * _gradient(rng, size)[..., None]  # the light falls in from one side
    noise = rng.uniform(1, 6) * rng.standard_normal((*size, 1), dtype=np.float32)
    image = (cv2.GaussianBlur(canvas, (5, 5), rng.uniform(0.3, 0.9)) + noise).clip(0, 255).astype(np.uint8)
    masks = np.array([shape.mask for shape in shapes], dtype=bool).reshape(-1, *size)
    return DrawnImage(image, [shape.category_id for shape in shapes], masks)


def _place(rng: np.random.Generator, size: tuple[int, int]) -> _Shape:
    """Choose an object and where it lies."""
    category_id = int(rng.choice(list(CATEGORIES)))
    # uniform in the logarithm: as many small objects as large ones
    radius = np.exp(rng.uniform(np.log(MIN_EXTENT), np.log(MAX_EXTENT * min(size)))) / 2
    center = rng.uniform(0.4 * radius, np.array(size[::-1]) - 0.4 * radius)  # (x, y); a border may cut off 30 %
    lean, stretch, turn = rng.uniform(0, np.pi), rng.uniform(0.85, 1), rng.uniform(0, 2 * np.pi)
    frame = radius * _rotation(lean) @ np.diag([1.0, stretch]) @ _rotation(turn)
    outlines = [outline @ frame.T + center for outline in _OUTLINES[CATEGORIES[category_id]]]

    coverage = np.zeros(size, dtype=np.uint8)
    # OpenCV counts from the middle of a pixel; several outlines in one call leave holes
    corners = [np.round((outline - 0.5) * 2**_SHIFT).astype(np.int32) for outline in outlines]
    cv2.fillPoly(coverage, corners, 255, cv2.LINE_AA, _SHIFT)
    areas = [cv2.contourArea(outline.astype(np.float32)) for outline in outlines]
    return _Shape(category_id, coverage, coverage > 127, whole_area=2 * areas[0] - sum(areas))


def _drop_hidden(shapes: list[_Shape]) -> list[_Shape]:
    """Take away the shapes that later ones or the border hide, and keep the visible part of the others' masks."""
    kept: list[_Shape] = []
    for shape in reversed(shapes):  # from the top down, so that what is taken away hides nothing
        visible = shape.mask.copy()
        for above in kept:
            visible &= above.coverage <= 127
        if visible.sum() >= MIN_VISIBLE * shape.whole_area:
            kept.append(shape._replace(mask=visible))
    return kept[::-1]


def _rotation(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _muted_colors(rng: np.random.Generator, num_colors: int) -> NDArray[np.float64]:
    """Draw RGB colors of 0..255 between full color and nearly gray, (num_colors, 3)."""
    colors = rng.uniform(15, 240, size=(num_colors, 3))
    gray = colors.mean(axis=1, keepdims=True)
    return gray + rng.uniform(0.2, 1, size=(num_colors, 1)) * (colors - gray)


def _most_distinct(candidates: NDArray[np.float64], colors: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the one of the candidates (M, 3) that lies farthest from all of `colors`."""
    distances = np.linalg.norm(candidates[:, None] - np.array(colors)[None], axis=2)
    return candidates[distances.min(axis=1).argmax()]


def _paint(rng: np.random.Generator, color: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Paint (H, W, 3) float32 with a random texture around an RGB color of 0..255."""
    texture = (_clouds, _patches, _stripes, _gradient)[rng.integers(4)](rng, size)
    swing = rng.uniform(-35, 35, size=3).astype(np.float32)
    grain = rng.uniform(5, 25) * _clouds(rng, size)
    return color.astype(np.float32) + swing * texture[..., None] + grain[..., None]


def _clouds(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return smooth noise of several scales, (H, W) in about -1..1."""
    field = np.zeros(size, dtype=np.float32)
    for cells in (3, 8, 24):
        coarse = rng.standard_normal((cells, cells), dtype=np.float32)
        field += cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(2 / (cells + 2))
    return field


def _patches(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return blots with clear borders, (H, W) in -1..1."""
    return np.tanh(6 * _clouds(rng, size))


def _stripes(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return waves in one direction, (H, W) in -1..1."""
    return np.sin(rng.uniform(6, 25) * _gradient(rng, size))


def _gradient(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a ramp in a random direction, (H, W) in -1..1 at the most."""
    dx, dy = _rotation(rng.uniform(0, 2 * np.pi))[0] / np.sqrt(2)
    columns, rows = np.linspace(-1, 1, size[1]), np.linspace(-1, 1, size[0])
    return (dx * columns[None] + dy * rows[:, None]).astype(np.float32)


def _box(mask: NDArray[np.bool_]) -> list[float]:
    """Return the smallest COCO box around a mask: [x, y, width, height] in pixels."""
    return [float(value) for value in cv2.boundingRect(mask.view(np.uint8))]


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    """Compress an RGB image."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def _polygon(radii: Sequence[float]) -> NDArray[np.float64]:
    """Return corners at equal angles around the origin and at the given radii, (corners, 2)."""
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(radii)[:, None]


# outlines within the unit circle; a second one is a hole
_OUTLINES = {
    "disc": [_polygon([1] * 64)],
    "ring": [_polygon([1] * 64), _polygon([0.55] * 64)],
    "square": [_polygon([1] * 4)],
    "triangle": [_polygon([1] * 3)],
    "star": [_polygon([1, 0.42] * 5)],
}
