"""Synthetic detection data set in COCO format: five overlapping shapes on textured backgrounds.

Categories differ in their shape only: color, texture, size, rotation and position have the same distribution in all of
them, so that a network has to learn shapes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

# ids with gaps, as COCO has: code that confuses ids with indices fails on this data set
CATEGORIES = {1: "disc", 3: "ring", 7: "square", 8: "triangle", 12: "star"}

EMPTY_FRACTION = 0.03  # images without objects, which training and evaluation have to handle
MIN_EXTENT = 14  # pixels across the smallest object
MAX_EXTENT = 0.6  # across the largest object, as a fraction of the image's short side
MIN_VISIBLE = 0.45  # fraction of an object's area; less visible objects are removed, since their shape is ambiguous
JPEG_QUALITY = 92

# (rng, category id or 0 for the background, M) to candidate colors (M, 3)
ColorsOf = Callable[[np.random.Generator, int, int], NDArray[np.float64]]

_SPLITS = ("train", "val")  # the index of a split is part of the random seed: do not reorder
_SUBPIXEL_BITS = 4  # OpenCV's fixed-point polygon corners, in units of 1/16 pixel


class SyntheticImage(NamedTuple):
    """A generated image with its ground truth.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        category_ids: keys of `CATEGORIES` of the N objects, from back to front.
        masks: (N, H, W) bool, visible pixels of each object, disjoint.
    """

    image: NDArray[np.uint8]
    category_ids: list[int]
    masks: NDArray[np.bool_]


class _Shape(NamedTuple):
    """A rasterized object without color.

    Attributes:
        category_id: key of `CATEGORIES`.
        coverage: (H, W) uint8, antialiased alpha.
        mask: (H, W) bool, visible pixels.
        whole_area: in pixels, including the part outside the image.
    """

    category_id: int
    coverage: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    whole_area: float


def write_detection_samples(
    root: Path,
    train: int = 1000,
    val: int = 200,
    size: tuple[int, int] = (160, 192),
    seed: int = 0,
    max_objects: int = 6,
    masks: bool = False,
    colors_of: ColorsOf | None = None,
) -> None:
    """Write `images/<split>/*.jpg` and `annotations/<split>.json` in COCO's format below `root`.

    An image depends on the seed, its split and its index only, not on the number of images.

    Args:
        root: folder of the data set; created if missing, and files of the same names are overwritten.
        train: number of training images.
        val: number of validation images.
        size: (height, width) in pixels.
        seed: random seed; the splits use independent streams of it.
        max_objects: maximum number of objects per image.
        masks: also write the visible pixels of each object as run lengths.
        colors_of: see `draw_image`.

    Raises:
        ValueError: `size` is too small for the objects, or `max_objects` is below 1.
    """
    if min(size) < 2 * MIN_EXTENT:
        raise ValueError(
            f"size is {size}; objects are at least {MIN_EXTENT} pixels, so both sides must be {2 * MIN_EXTENT} or more."
        )
    if max_objects < 1:
        raise ValueError(f"max_objects is {max_objects}; give at least 1.")
    for split, num_images in zip(_SPLITS, (train, val), strict=True):
        folder = root / "images" / split
        folder.mkdir(parents=True, exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(num_images):
            stream = np.random.SeedSequence(seed, spawn_key=(_SPLITS.index(split), index))
            sample = draw_image(np.random.default_rng(stream), size, max_objects, colors_of)
            name = f"{index:06d}.jpg"
            (folder / name).write_bytes(_jpeg(sample.image))
            images.append({"id": index + 1, "file_name": name, "width": size[1], "height": size[0]})
            for category_id, mask in zip(sample.category_ids, sample.masks, strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index + 1,
                        "category_id": category_id,
                        "bbox": _box(mask),
                        "area": float(mask.sum()),
                        "iscrowd": 0,
                        **({"segmentation": _run_lengths(mask)} if masks else {}),
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
    colors_of: ColorsOf | None = None,
) -> SyntheticImage:
    """Generate one image with its masks.

    Args:
        rng: random generator.
        size: (height, width) in pixels.
        max_objects: maximum number of objects; a few images have none.
        colors_of: function of (rng, category id or 0 for the background, M) that returns candidate colors (M, 3); by
            default all categories share one distribution.
    """
    num_objects = 0 if rng.random() < EMPTY_FRACTION else int(rng.integers(1, max_objects + 1))
    shapes = _drop_hidden([_random_shape(rng, size) for _ in range(num_objects)])

    draw = colors_of or (lambda rng, _, number: _muted_colors(rng, number))
    colors = [draw(rng, 0, 1)[0]]
    canvas = _paint(rng, colors[0], size)
    for shape in shapes:
        # the most distinct of 12 candidates: no object may blend into the background or another object
        colors.append(_most_distinct(draw(rng, shape.category_id, 12), colors))
        x, y, width, height = cv2.boundingRect(shape.coverage)
        alpha = shape.coverage[y : y + height, x : x + width, None] / np.float32(255)
        patch = canvas[y : y + height, x : x + width]
        patch += alpha * (_paint(rng, colors[-1], (height, width)) - patch)

    canvas *= 1 + 0.15 * _gradient(rng, size)[..., None]  # lighting from one side
    noise = rng.uniform(1, 6) * rng.standard_normal((*size, 1), dtype=np.float32)
    image = (cv2.GaussianBlur(canvas, (5, 5), rng.uniform(0.3, 0.9)) + noise).clip(0, 255).astype(np.uint8)
    masks = np.array([shape.mask for shape in shapes], dtype=bool).reshape(-1, *size)
    return SyntheticImage(image, [shape.category_id for shape in shapes], masks)


def _random_shape(rng: np.random.Generator, size: tuple[int, int]) -> _Shape:
    """Draw category, size, pose and position of an object, and rasterize it."""
    category_id = int(rng.choice(list(CATEGORIES)))
    # log-uniform: equally many objects in every octave of sizes
    radius = np.exp(rng.uniform(np.log(MIN_EXTENT), np.log(MAX_EXTENT * min(size)))) / 2
    center = rng.uniform(0.4 * radius, np.array(size[::-1]) - 0.4 * radius)  # (x, y); borders crop up to 30 %
    # rotation after an anisotropic scale in a random direction: a slight shear
    axis, scale, angle = rng.uniform(0, np.pi), rng.uniform(0.85, 1), rng.uniform(0, 2 * np.pi)
    frame = radius * _rotation(axis) @ np.diag([1.0, scale]) @ _rotation(angle)
    outlines = [outline @ frame.T + center for outline in _OUTLINES[CATEGORIES[category_id]]]

    coverage = np.zeros(size, dtype=np.uint8)
    # OpenCV's coordinates refer to pixel centers; several outlines in one call make holes
    corners = [np.round((outline - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32) for outline in outlines]
    cv2.fillPoly(coverage, corners, 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    areas = [cv2.contourArea(outline.astype(np.float32)) for outline in outlines]
    return _Shape(category_id, coverage, coverage > 127, whole_area=2 * areas[0] - sum(areas))


def _drop_hidden(shapes: list[_Shape]) -> list[_Shape]:
    """Remove shapes that are mostly hidden by later shapes or cropped, and clip the masks of the rest."""
    kept: list[_Shape] = []
    for shape in reversed(shapes):  # front to back: a removed shape must not occlude those behind it
        visible = shape.mask.copy()
        for above in kept:
            visible &= above.coverage <= 127
        if visible.sum() >= MIN_VISIBLE * shape.whole_area:
            kept.append(shape._replace(mask=visible))
    return kept[::-1]


def _rotation(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _muted_colors(rng: np.random.Generator, num_colors: int) -> NDArray[np.float64]:
    """Draw RGB colors in 0..255 from nearly gray to saturated, (num_colors, 3)."""
    colors = rng.uniform(15, 240, size=(num_colors, 3))
    gray = colors.mean(axis=1, keepdims=True)
    return gray + rng.uniform(0.2, 1, size=(num_colors, 1)) * (colors - gray)


def _most_distinct(candidates: NDArray[np.float64], colors: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the candidate of (M, 3) with the largest distance to its nearest color in `colors`."""
    distances = np.linalg.norm(candidates[:, None] - np.array(colors)[None], axis=2)
    return candidates[distances.min(axis=1).argmax()]


def _paint(rng: np.random.Generator, color: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Render (H, W, 3) float32 with a random texture around an RGB color in 0..255."""
    texture = (_clouds, _patches, _stripes, _gradient)[rng.integers(4)](rng, size)
    # per channel, so that a texture changes the hue and not only the brightness
    amplitude = rng.uniform(-35, 35, size=3).astype(np.float32)
    grain = rng.uniform(5, 25) * _clouds(rng, size)
    return color.astype(np.float32) + amplitude * texture[..., None] + grain[..., None]


def _clouds(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return smooth noise of several scales, (H, W), about -1..1."""
    field = np.zeros(size, dtype=np.float32)
    for cells in (3, 8, 24):  # amplitude falls with frequency, as in natural images
        coarse = rng.standard_normal((cells, cells), dtype=np.float32)
        field += cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(2 / (cells + 2))
    return field


def _patches(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return blobs with sharp borders, (H, W) in -1..1."""
    return np.tanh(6 * _clouds(rng, size))


def _stripes(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a sine wave in a random direction, (H, W) in -1..1."""
    return np.sin(rng.uniform(6, 25) * _gradient(rng, size))


def _gradient(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a linear ramp in a random direction, (H, W) within -1..1."""
    dx, dy = _rotation(rng.uniform(0, 2 * np.pi))[0] / np.sqrt(2)
    columns, rows = np.linspace(-1, 1, size[1]), np.linspace(-1, 1, size[0])
    return (dx * columns[None] + dy * rows[:, None]).astype(np.float32)


def _box(mask: NDArray[np.bool_]) -> list[float]:
    """Return the COCO bounding box of a mask: [x, y, width, height] in pixels."""
    return [float(value) for value in cv2.boundingRect(mask.view(np.uint8))]


def _run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return COCO's compressed run lengths of a mask."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image as JPEG."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def _polygon(radii: Sequence[float]) -> NDArray[np.float64]:
    """Return vertices (V, 2) at equal angles around the origin and at the given radii."""
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(radii)[:, None]


# outlines inside the unit circle; the second one is a hole
_OUTLINES = {
    "disc": [_polygon([1] * 64)],
    "ring": [_polygon([1] * 64), _polygon([0.55] * 64)],
    "square": [_polygon([1] * 4)],
    "triangle": [_polygon([1] * 3)],
    "star": [_polygon([1, 0.42] * 5)],
}
