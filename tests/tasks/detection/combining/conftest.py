"""Images whose pixels say which object covers them, so that boxes and masks can be compared with what is seen."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.parts.crops import crop_mask
from vertebra.tasks.detection.transforms import LabeledImage


@pytest.fixture
def picture() -> Callable[..., LabeledImage]:
    """Function that draws an image of one value with ellipses that do not overlap, each of a value of its own."""

    def draw(height=80, width=100, count=4, value=20, seed=0, masks=True) -> LabeledImage:
        rng = np.random.default_rng(seed)
        image = np.full((height, width, 3), value, np.uint8)
        dense = np.zeros((count, height, width), np.uint8)
        for i, mask in enumerate(dense):
            x = (2 * i + 1) * width // (2 * count)  # a column for each
            radii = max(2, width // (2 * count) - 2), int(rng.integers(6, height // 3))
            cv2.ellipse(mask, (x, int(rng.integers(height // 4, 3 * height // 4))), radii, 0, 0, 360, 1, -1)
            image[mask > 0] = 150 + 10 * i
        crops = [crop_mask(mask > 0) for mask in dense]
        boxes = np.array([[x, y, x + w, y + h] for (x, y, w, h), _ in crops], np.float32).reshape(-1, 4)
        rows = np.arange(count)
        packed = PackedMasks.of(crops) if masks else None
        return LabeledImage(image, Instances(boxes, rows + 1, rows < 0, dense.sum((1, 2)) + 0.0, rows, packed))

    return draw


@pytest.fixture
def dense_of() -> Callable[[LabeledImage], np.ndarray]:
    """Function that draws the masks of an image, (N, H, W) bool."""

    def draw(image: LabeledImage) -> np.ndarray:
        drawn = np.zeros((len(image.instances), *image.image.shape[:2]), bool)
        for mask, ((x, y, width, height), pixels) in zip(drawn, image.instances.masks.crops(), strict=True):
            mask[y : y + height, x : x + width] = pixels
        return drawn

    return draw


@pytest.fixture
def box_of() -> Callable[[np.ndarray], list[int]]:
    """Function that returns the box around a mask."""

    def box(mask: np.ndarray) -> list[int]:
        y, x = np.nonzero(mask)
        return [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]

    return box
