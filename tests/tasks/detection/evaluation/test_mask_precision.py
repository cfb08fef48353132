"""pycocotools is the oracle of mask AP: COCOeval with iouType segm, to the last bit."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.evaluation import average_precision
from vertebra.tasks.detection.evaluation.average_precision import precision_and_recall
from vertebra.tasks.detection.evaluation.metrics import CocoMetric
from vertebra.tasks.detection.evaluation.regions import BoxRegions, MaskRegions
from vertebra.tools.benchmarks.coco import random_images, score_with_pycocotools

SEEDS = range(6)


def drawn(boxes, size, rng):
    """Draw an ellipse, a frame, everything or nothing into each box; many coincide, and some are of one pixel."""
    height, width = size
    crops = []
    for x1, y1, x2, y2 in np.clip(np.rint(boxes), 0, [width, height, width, height]).astype(int).tolist():
        mask = np.zeros((height, width), np.uint8)
        kind = rng.integers(10)
        if kind < 6:
            center = ((x1 + x2) // 2, (y1 + y2) // 2)
            cv2.ellipse(mask, center, ((x2 - x1) // 2, (y2 - y1) // 2), 0, 0, 360, 1, -1)
        elif kind < 8:
            cv2.rectangle(mask, (x1, y1), (x2, y2), 1, 3)
        elif kind < 9:
            mask[y1:y2, x1:x2] = 1
        crops.append(((0, 0, width, height), mask.astype(bool)))
    return RunLengthMasks.encode(crops, height, width)


def images_with_masks(count, detections, num_classes, seed, crowd=0.2):
    rng = np.random.default_rng((seed, 7))
    images = []
    for image in random_images(count, detections, num_classes, seed):
        size = (120 + int(rng.integers(9)), 160)  # the boxes of 480 x 640 pixels in a quarter of them
        truth, found = image.truth, image.detections
        truth = replace(truth, boxes=truth.boxes / 4, areas=truth.areas / 16, crowd=rng.random(len(truth)) < crowd)
        found = replace(found, boxes=found.boxes / 4, scores=np.round(found.scores, 1))
        masks, found_masks = drawn(truth.boxes, size, rng), drawn(found.boxes, size, rng)
        same = rng.random(len(found)) < 0.2  # the same mask as the truth: an IoU of 1
        if len(truth) and same.any():
            rows = np.where(same, len(found) + rng.integers(0, len(truth), len(found)), np.arange(len(found)))
            found_masks = RunLengthMasks.concatenate([found_masks, masks])[rows]
        truth, found = replace(truth, masks=masks), replace(found, masks=found_masks)
        images.append(image._replace(size=size, truth=truth, detections=found))
    return images


def assert_equals_pycocotools(images, num_classes):
    theirs = score_with_pycocotools(images, num_classes, "segm")
    for mine, their in zip(precision_and_recall(images, num_classes, MaskRegions), theirs, strict=True):
        np.testing.assert_array_equal(mine, their)
    return theirs


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_classes", [1, 4])
def test_equals_pycocotools_to_the_last_bit(seed, num_classes):
    images = images_with_masks(8, 30, num_classes, seed)
    precision, recall = assert_equals_pycocotools(images, num_classes)
    assert (precision.max(axis=(1, 2, 4))[:, :2] > 0).all()  # the case says something of all IoUs, and of small masks
    assert ((recall > 0) & (recall < 1)).any()
    boxes = precision_and_recall(images, num_classes, BoxRegions)[0]
    assert not np.array_equal(boxes, precision)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_pycocotools_where_most_are_crowds(seed):
    assert_equals_pycocotools(images_with_masks(5, 20, 1, seed, crowd=0.7), 1)


def test_portions_change_nothing(monkeypatch):
    monkeypatch.setattr(average_precision, "_PAIRS_AT_ONCE", 7)
    assert_equals_pycocotools(images_with_masks(6, 30, 2, 0), 2)


def test_equals_pycocotools_where_little_or_nothing_is():
    images = images_with_masks(4, 6, 2, 0)
    without_truth = [image._replace(truth=image.truth[:0]) for image in images]
    without_detections = [image._replace(detections=image.detections[:0]) for image in images]
    for some in ([], without_truth, without_detections, [*without_truth[:2], *images[2:]]):
        assert_equals_pycocotools(some, 2)


def test_the_metric_has_boxes_and_masks():
    images = images_with_masks(6, 20, 2, 3)
    metric = CocoMetric(["a", "b"])
    metric.update(images)
    results = metric.compute()
    precision, recall = score_with_pycocotools(images, 2, "segm")
    assert results.scores() == {
        "map": results.ap,
        "map50": results.ap50,
        "mask_map": precision[:, :, :, 0, 2].mean(),
        "mask_map50": precision[0, :, :, 0, 2].mean(),
    }
    assert results.masks.ar100 == recall[:, :, 0, 2].mean()
    assert results.ap == score_with_pycocotools(images, 2, "bbox")[0][:, :, :, 0, 2].mean()
    assert list(results.headline())[7:] == [f"mask {name}" for name in list(results.headline())[:7]]


@pytest.mark.parametrize("side", ["truth", "detections"])
def test_boxes_are_measured_alone_where_masks_lack(side):
    images = images_with_masks(3, 5, 1, 0)
    metric = CocoMetric(["a"])
    metric.update(image._replace(**{side: replace(getattr(image, side), masks=None)}) for image in images)
    assert metric.compute().masks is None
    assert list(metric.compute().scores()) == ["map", "map50"]
