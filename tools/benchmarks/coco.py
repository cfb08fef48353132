"""COCO's box metrics of a data set's size: pycocotools, and the same numbers from `vertebra.tasks.detection`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import partial

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vertebra.tasks.detection.average_precision import precision_and_recall
from vertebra.tasks.detection.evaluated_image import EvaluatedImage
from vertebra.tasks.detection.instances import Detections, Instances
from vertebra.tools.benchmarks.table import Table, table_of_ways

HEIGHT, WIDTH = 480, 640
TRUTH = 7  # objects an image on average, as COCO has
NUM_CLASSES = 80


def table_of(images: int, detections: int, rounds: int) -> Table:
    """Time the ways to score the same images.

    Args:
        images: how many.
        detections: of each.
        rounds: that count.
    """
    made = random_images(images, detections, NUM_CLASSES)
    ways = {
        "pycocotools": partial(score_with_pycocotools, made, NUM_CLASSES),
        "ours": partial(precision_and_recall, made, NUM_CLASSES),
    }
    title = f"average precision of {images} images, {detections} detections each, {NUM_CLASSES} classes"
    return table_of_ways(title, ways, (images, "images"), ("pycocotools", "numpy"), rounds, device="one thread")


def random_images(images: int, detections: int, num_classes: int, seed: int = 0) -> list[EvaluatedImage]:
    """Make images of which a detector has seen something: half of its boxes lie near an object, half anywhere.

    Args:
        images: how many.
        detections: of each.
        num_classes: K; labels are in 1..K.
        seed: of all that is random.
    """
    rng = np.random.default_rng(seed)
    return [_random_image(number, detections, num_classes, rng) for number in range(1, images + 1)]


def _random_image(number: int, detections: int, num_classes: int, rng: np.random.Generator) -> EvaluatedImage:
    boxes = _random_boxes(rng.poisson(TRUTH), rng)
    labels = rng.integers(1, num_classes + 1, len(boxes))
    found, found_labels = _random_boxes(detections, rng), rng.integers(1, num_classes + 1, detections)
    scores = rng.uniform(0, 0.6, detections)
    near = detections // 2 if len(boxes) else 0
    seen = rng.integers(0, len(boxes), near) if near else np.zeros(0, int)
    sides = np.tile(boxes[seen, 2:] - boxes[seen, :2], 2)
    found[:near] = boxes[seen] + rng.normal(0, 0.08, (near, 4)) * sides
    found_labels[:near] = np.where(rng.random(near) < 0.8, labels[seen], found_labels[:near])
    scores[:near] += 0.4 * rng.random(near)
    order = np.argsort(-scores)
    return EvaluatedImage(
        image_id=number,
        file=f"{number}.jpg",
        size=(HEIGHT, WIDTH),
        truth=Instances(
            boxes=boxes,
            labels=labels,
            crowd=rng.random(len(boxes)) < 0.02,
            areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.uniform(0.4, 1, len(boxes)),
            ids=np.arange(1, len(boxes) + 1),
        ),
        detections=Detections(found[order], found_labels[order], scores[order]),
    )


def _random_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (N, 4) xyxy boxes within the image, as many small ones as large ones."""
    sides = np.exp(rng.uniform(np.log(8), np.log(400), (count, 2)))
    corners = rng.uniform(0, 1, (count, 2)) * ((WIDTH, HEIGHT) - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def score_with_pycocotools(images: Sequence[EvaluatedImage], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the precision and the recall of COCOeval, as `precision_and_recall` returns them."""
    truth: list[dict] = []
    detections: list[dict] = []
    for image in images:
        objects, found = image.truth, image.detections
        for box, label, crowd, area in zip(objects.boxes, objects.labels, objects.crowd, objects.areas, strict=True):
            truth.append(_annotation(truth, image, box, label) | {"iscrowd": int(crowd), "area": float(area)})
        for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
            detection = _annotation(detections, image, box, label)
            width, height = detection["bbox"][2:]
            detections.append(detection | {"iscrowd": 0, "area": width * height, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = COCOeval(_coco(images, num_classes, truth), _coco(images, num_classes, detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _annotation(earlier: list[dict], image: EvaluatedImage, box: np.ndarray, label: int) -> dict:
    x1, y1, x2, y2 = box.tolist()
    # Ids start at 1: COCOeval stores the id of a match in an array in which 0 means "no match".
    identity = len(earlier) + 1
    return {"id": identity, "image_id": image.image_id, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1]}


def _coco(images: Sequence[EvaluatedImage], num_classes: int, annotations: list[dict]) -> COCO:
    # Built in memory for detections too: `COCO.loadRes` cannot read an empty list of them.
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image.image_id} for image in images],
        "categories": [{"id": label} for label in range(1, num_classes + 1)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
