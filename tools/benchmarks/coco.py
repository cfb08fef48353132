"""Benchmark of COCO average precision: pycocotools against `vertebra.tasks.detection`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vertebra.tasks.detection.annotations.instances import Detections, Instances
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.evaluation.average_precision import precision_and_recall
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tools.benchmarks.table import Table, compare_throughput

HEIGHT, WIDTH = 480, 640  # the most frequent size of COCO's images
OBJECTS_PER_IMAGE = 7  # COCO's average
NUM_CLASSES = 80


def measure(images: int, detections: int, rounds: int) -> Table:
    """Measure both implementations on the same images.

    Args:
        images: number of images.
        detections: detections per image.
        rounds: number of measured rounds.
    """
    evaluated = random_images(images, detections, NUM_CLASSES)
    implementations = {
        "pycocotools": partial(score_with_pycocotools, evaluated, NUM_CLASSES),
        "ours": partial(precision_and_recall, evaluated, NUM_CLASSES),
    }
    title = f"average precision of {images} images, {detections} detections per image, {NUM_CLASSES} classes"
    packages = ("pycocotools", "numpy")
    return compare_throughput(title, implementations, (images, "images"), packages, rounds, device="one thread")


def random_images(images: int, detections: int, num_classes: int, seed: int = 0) -> list[EvaluatedImage]:
    """Generate ground truth and detections: half of the detections are near an object, half at random.

    Args:
        images: number of images.
        detections: detections per image.
        num_classes: K; labels are in 1..K.
        seed: random seed.
    """
    rng = np.random.default_rng(seed)
    return [_random_image(number, detections, num_classes, rng) for number in range(1, images + 1)]


def _random_image(number: int, detections: int, num_classes: int, rng: np.random.Generator) -> EvaluatedImage:
    boxes = _random_boxes(rng.poisson(OBJECTS_PER_IMAGE), rng)
    labels = rng.integers(1, num_classes + 1, len(boxes))
    detected, detected_labels = _random_boxes(detections, rng), rng.integers(1, num_classes + 1, detections)
    scores = rng.uniform(0, 0.6, detections)
    # several detections per object: duplicates, which matching must reject, are where implementations differ
    num_near = detections // 2 if len(boxes) else 0
    target = rng.integers(0, len(boxes), num_near) if num_near else np.zeros(0, int)
    sides = np.tile(boxes[target, 2:] - boxes[target, :2], 2)
    # a deviation of 8 % of the side spreads the IoUs over COCO's thresholds, 0.5 to 0.95
    detected[:num_near] = boxes[target] + rng.normal(0, 0.08, (num_near, 4)) * sides
    detected_labels[:num_near] = np.where(rng.random(num_near) < 0.8, labels[target], detected_labels[:num_near])
    scores[:num_near] += 0.4 * rng.random(num_near)
    order = np.argsort(-scores)
    return EvaluatedImage(
        image_id=number,
        file=f"{number}.jpg",
        size=(HEIGHT, WIDTH),
        truth=Instances(
            boxes=boxes,
            labels=labels,
            crowd=rng.random(len(boxes)) < 0.02,
            # areas of masks, which are smaller than those of the boxes
            areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.uniform(0.4, 1, len(boxes)),
            ids=np.arange(1, len(boxes) + 1),
        ),
        detections=Detections(detected[order], detected_labels[order], scores[order]),
    )


def _random_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (N, 4) xyxy boxes inside the image, with sides log-uniform in 8..400 pixels."""
    sides = np.exp(rng.uniform(np.log(8), np.log(400), (count, 2)))
    corners = rng.uniform(0, 1, (count, 2)) * ((WIDTH, HEIGHT) - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def score_with_pycocotools(
    images: Sequence[EvaluatedImage], num_classes: int, kind: Literal["bbox", "segm"] = "bbox"
) -> tuple[np.ndarray, np.ndarray]:
    """Return COCOeval's precision and recall of boxes or masks, in the layout of `precision_and_recall`."""
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
        if isinstance(objects.masks, RunLengthMasks) and found.masks is not None:
            for annotation, rle in zip(truth[len(truth) - len(objects) :], objects.masks.rles(), strict=True):
                annotation["segmentation"] = rle
            # areas as `COCO.loadRes` has them of results without boxes
            masks = zip(found.masks.rles(), found.masks.areas().tolist(), strict=True)
            for detection, (rle, area) in zip(detections[len(detections) - len(found) :], masks, strict=True):
                detection |= {"segmentation": rle, "area": area}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = COCOeval(_coco(images, num_classes, truth), _coco(images, num_classes, detections), kind)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _annotation(earlier: list[dict], image: EvaluatedImage, box: np.ndarray, label: int) -> dict:
    x1, y1, x2, y2 = box.tolist()
    # ids start at 1: COCOeval stores the id of a match in an array in which 0 means "no match"
    annotation_id = len(earlier) + 1
    return {
        "id": annotation_id,
        "image_id": image.image_id,
        "category_id": int(label),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
    }


def _coco(images: Sequence[EvaluatedImage], num_classes: int, annotations: list[dict]) -> COCO:
    # built in memory for detections too: `COCO.loadRes` fails on an empty list
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image.image_id, "height": image.size[0], "width": image.size[1]} for image in images],
        "categories": [{"id": label} for label in range(1, num_classes + 1)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
