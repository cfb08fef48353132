"""Benchmark of detection data loading, from JPEG files to normalized batches: torchvision's references and ours."""

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

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.dataset import DetectionDataset, collate
from vertebra.tasks.detection.transforms import Augment, Resize
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.training.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from vertebra.tools.benchmarks.table import Table, compare_throughput
from vertebra.tools.benchmarks.timing import one_core

HEIGHT, WIDTH = 480, 640  # the most frequent size of COCO's images
BOXES = 8  # per image, about COCO's average
SHORT, LONGEST = 800, 1333  # the resize of the Faster R-CNN literature
BATCH = 2
# the ranges of torchvision's `RandomPhotometricDistort`, but applied to every image, so that the work is the same
COLOR_JITTER = {"brightness": (0.875, 1.125), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.05, 0.05)}


def measure(images: int, rounds: int) -> Table:
    """Measure all pipelines on one core; speedups are over torchvision's default.

    Args:
        images: images per round.
        rounds: number of measured rounds.
    """
    # one core, as for a loader process beside others
    with tempfile.TemporaryDirectory() as folder, one_core():
        entries = pipelines(write_images(Path(folder), images))
        return compare_throughput(
            f"JPEG of {WIDTH} x {HEIGHT} to normalized batches of {BATCH}, shorter side {SHORT}",
            {name: partial(_read_all, batches) for name, batches in entries.items()},
            (images, "images"),
            ("torch", "torchvision", "pillow", "albumentations"),
            rounds,
            device="one CPU core",
        )


def _read_all(batches: Callable[[], Iterator[Tensor]]) -> None:
    for _ in batches():  # batches are dropped at once: fresh memory for each would dominate the time
        pass


def pipelines(annotations: Annotations) -> dict[str, Callable[[], Iterator[Tensor]]]:
    """Return pipelines that read all images and boxes of a data set as zero-padded batches (N, 3, H, W) float32.

    torchvision's are those of its references/detection: color and flip on Pillow images (the default backend of its
    training script) or on tensors, then resizing, normalization and padding by its detectors'
    `GeneralizedRCNNTransform`.

    Args:
        annotations: the data set.
    """
    augment = Augment([A.ColorJitter(**COLOR_JITTER, p=1), A.HorizontalFlip(p=0.5)])
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
            v2.ColorJitter(**COLOR_JITTER),
            v2.RandomHorizontalFlip(p=0.5),
            v2.ToImage(),  # no-op on a tensor
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
        requests = [
            SampleRequest(index, seed=index, batch_seed=0) for index in range(start, min(start + BATCH, len(dataset)))
        ]
        batch = collate([dataset[request] for request in requests])
        # on the device in a training; here on the CPU, since torchvision's pipeline includes it
        yield normalize(batch.images, batch.sizes)


def write_images(folder: Path, count: int) -> Annotations:
    """Write JPEG images with the smoothness of photographs, and return them with random boxes.

    Args:
        folder: existing output folder.
        count: number of images.
    """
    rng = np.random.default_rng(0)
    files = [str(folder / f"{number:03d}.jpg") for number in range(count)]
    for file in files:
        # blurred: white noise would make JPEG files far larger than photographs, and slower to decode
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
