"""Training images of a detector: from JPEG files to normalized batches, torchvision's reference way and ours."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

from vertebra.tasks.detection.annotations import Annotations
from vertebra.tasks.detection.dataset import DetectionDataset, collate
from vertebra.tasks.detection.instances import Instances
from vertebra.tasks.detection.transforms import Augment, Resize
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.training.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from vertebra.tools.benchmarks.table import Table, table_of_ways
from vertebra.tools.benchmarks.timing import one_core

HEIGHT, WIDTH = 480, 640
BOXES = 8  # an image, as COCO has on average
SHORT, LONGEST = 800, 1333
BATCH = 2
# as far as torchvision's `RandomPhotometricDistort` goes, but always, so that every way has the same work
COLOUR = {"brightness": (0.875, 1.125), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.05, 0.05)}


def table_of(images: int, rounds: int) -> Table:
    """Time every way on one core; ratios are to torchvision's default.

    Args:
        images: that are read in a round.
        rounds: that count.
    """
    with tempfile.TemporaryDirectory() as folder, one_core():
        entries = ways(write_images(Path(folder), images))
        return table_of_ways(
            f"JPEG of {WIDTH} x {HEIGHT} to normalized batches of {BATCH}, the shorter side {SHORT}",
            {name: partial(_read_all, batches) for name, batches in entries.items()},
            (images, "images"),
            ("torch", "torchvision", "pillow", "albumentations"),
            rounds,
            device="one CPU core",
        )


def _read_all(batches: Callable[[], Iterator[Tensor]]) -> None:
    for _ in batches():  # none is kept: memory that is never used twice would cost more than what is timed
        pass


def ways(annotations: Annotations) -> dict[str, Callable[[], Iterator[Tensor]]]:
    """Return ways to read all images of a data set with their boxes, as batches (N, 3, H, W) float32 with zero padding.

    torchvision's are those of its references/detection: color and flip on Pillow's images, the default backend of its
    training script, or on tensors; and the rest by `GeneralizedRCNNTransform`, its detectors' own.

    Args:
        annotations: of the images.
    """
    augment = Augment([A.ColorJitter(**COLOUR, p=1), A.HorizontalFlip(p=0.5)])
    dataset = DetectionDataset(annotations, Resize((SHORT,), LONGEST), augment)
    return {
        "torchvision, `backend=pil`": partial(_read_theirs, annotations, _transforms(v2.Identity())),
        "torchvision, `backend=tv_tensor`": partial(_read_theirs, annotations, _transforms(v2.ToImage())),
        "ours": partial(_read_ours, dataset),
    }


def _transforms(first: v2.Transform) -> v2.Compose:
    return v2.Compose(
        [
            first,
            v2.ColorJitter(**COLOUR),
            v2.RandomHorizontalFlip(p=0.5),
            v2.ToImage(),  # a tensor stays as it is
            v2.ToDtype(torch.float32, scale=True),
            v2.ConvertBoundingBoxFormat(tv_tensors.BoundingBoxFormat.XYXY),
            v2.SanitizeBoundingBoxes(),
            v2.ToPureTensor(),
        ]
    )


def _read_theirs(annotations: Annotations, transforms: v2.Compose) -> Iterator[Tensor]:
    resize = GeneralizedRCNNTransform(SHORT, LONGEST, list(IMAGENET_MEAN), list(IMAGENET_STD))
    for start in range(0, len(annotations), BATCH):
        images, targets = [], []
        for index in range(start, min(start + BATCH, len(annotations))):
            with Image.open(annotations.files[index]) as file:
                image = file.convert("RGB")
            image, target = transforms(image, _target(annotations, index, (image.height, image.width)))
            images.append(image)
            targets.append(target)
        yield resize(images, targets)[0].tensors


def _target(annotations: Annotations, index: int, size: tuple[int, int]) -> dict[str, Tensor]:
    instances = annotations.of_image(index)
    return {
        "boxes": tv_tensors.BoundingBoxes(torch.from_numpy(instances.boxes).float(), format="XYXY", canvas_size=size),
        "labels": torch.from_numpy(instances.labels),
    }


def _read_ours(dataset: DetectionDataset) -> Iterator[Tensor]:
    normalize = Normalize()
    for start in range(0, len(dataset), BATCH):
        draws = [
            SampleRequest(index, seed=index, batch_seed=0) for index in range(start, min(start + BATCH, len(dataset)))
        ]
        read = collate([dataset[draw] for draw in draws])
        yield normalize(read.images, read.sizes)


def write_images(folder: Path, count: int) -> Annotations:
    """Write pictures as smooth as photographs are, as JPEG, and return them with random boxes.

    Args:
        folder: to write into; it exists.
        count: of images.
    """
    rng = np.random.default_rng(0)
    files = [str(folder / f"{number:03d}.jpg") for number in range(count)]
    for file in files:
        noise = rng.standard_normal((HEIGHT, WIDTH, 3)).astype(np.float32)
        smooth = 900 * cv2.GaussianBlur(noise, (0, 0), 6) + 60 * cv2.GaussianBlur(noise, (0, 0), 1)
        Image.fromarray(np.clip(128 + smooth, 0, 255).astype(np.uint8)).save(file, quality=90)
    corners = rng.uniform(0, (WIDTH, HEIGHT), (count * BOXES, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return Annotations(
        class_names=("thing",),
        category_ids=np.array([1]),
        files=np.array(files),
        image_ids=np.arange(count),
        sizes=np.full((count, 2), (HEIGHT, WIDTH)),
        starts=np.arange(count + 1) * BOXES,
        instances=Instances(
            boxes=boxes,
            labels=np.ones(len(boxes), dtype=np.int64),
            crowd=np.zeros(len(boxes), dtype=bool),
            areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
            ids=np.arange(len(boxes)),
        ),
    )
