from dataclasses import replace

import numpy as np
import pytest

from vertebra.tasks.detection.annotations.instances import Detections, Instances
from vertebra.tasks.detection.evaluation import average_precision
from vertebra.tasks.detection.evaluation.average_precision import evaluate, precision_and_recall
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tools.benchmarks.coco import random_images, score_with_pycocotools

SEEDS = range(8)


def random_boxes(count, rng):
    # Whole pixels, few places and sides around 32 and 96: boxes coincide, IoUs tie, and areas lie on a range's end.
    corners = rng.integers(0, 8, (count, 2)) * 20.0
    return np.concatenate([corners, corners + rng.choice([16, 31, 32, 33, 95, 96, 97, 150], (count, 2))], axis=1)


def random_image(image_id, num_truth, num_detections, rng, num_classes):
    boxes = random_boxes(num_truth, rng)
    found = random_boxes(num_detections, rng)
    if num_truth:
        near = rng.random(num_detections) < 0.7
        shift = rng.integers(-3, 4, (near.sum(), 4)) * (rng.random((near.sum(), 1)) < 0.7)
        found[near] = boxes[rng.integers(0, num_truth, near.sum())] + shift
        again = rng.integers(0, num_truth, num_truth // 4)
        boxes[: len(again)] = boxes[again]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return EvaluatedImage(
        image_id=image_id,
        file=f"{image_id}.jpg",
        size=(400, 400),
        truth=Instances(
            boxes=boxes,
            labels=rng.integers(1, num_classes + 1, num_truth),
            crowd=rng.random(num_truth) < 0.25,
            areas=np.where(rng.random(num_truth) < 0.5, areas, rng.choice([31.9**2, 32**2, 96**2, 1e4], num_truth)),
            ids=np.arange(num_truth),
        ),
        detections=Detections(
            boxes=found,
            labels=rng.integers(1, num_classes + 1, num_detections),
            scores=np.round(rng.random(num_detections), 1),  # ties, and in no order
        ),
    )


def some_images(rng, num_classes=2, sizes=((9, 12), (0, 5), (5, 0), (0, 0), (12, 30), (8, 300), (1, 1), (12, 20))):
    image_ids = rng.permutation(100)[: len(sizes)].tolist()
    return [random_image(name, *size, rng, num_classes) for name, size in zip(image_ids, sizes, strict=True)]


def assert_equals_pycocotools(images, num_classes):
    theirs = score_with_pycocotools(images, num_classes)
    for mine, their in zip(precision_and_recall(images, num_classes), theirs, strict=True):
        np.testing.assert_array_equal(mine, their)
    return theirs


def test_outcomes_have_the_recall_that_is_reached():
    images = some_images(np.random.default_rng(0))
    truth = np.concatenate([image.truth.labels[~image.truth.crowd] for image in images])
    _, recall, outcomes = evaluate(images, 2)
    for k in (1, 2):
        found = outcomes.correct[outcomes.labels == k].sum()
        assert found / (truth == k).sum() == recall[0, k - 1, 0, 2]
    assert not outcomes.correct.all()


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_pycocotools_to_the_last_bit(seed):
    precision, recall = assert_equals_pycocotools(some_images(np.random.default_rng(seed)), 2)
    # The case says something of all IoUs and areas.
    assert (precision.max(axis=(1, 2, 4)) > 0).all()
    assert ((recall > 0) & (recall < 1)).any(axis=(1, 3)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_pycocotools_where_boxes_are_no_whole_pixels(seed):
    assert_equals_pycocotools(random_images(12, 40, 3, seed), 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_pycocotools_where_a_bit_decides(seed):
    # On paper the IoU of each pair is a threshold; the order of the sums decides which side it falls on.
    rng = np.random.default_rng(seed)
    x, y, width, height = rng.integers(1, 2000, (4, 300)) / 10
    part = width * rng.choice(average_precision.IOUS, 300)
    truth = np.stack([x, y, x + width, y + height], axis=1)
    found = np.stack([x, y, x + part, y + height], axis=1)
    pairs = zip(truth[:, None], found[:, None], (width * height)[:, None], strict=True)
    images = [one_class(box, [0], area, near, [0.5])._replace(image_id=i) for i, (box, near, area) in enumerate(pairs)]
    assert_equals_pycocotools(images, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_pycocotools_where_classes_have_no_truth_or_no_detections(seed):
    rng = np.random.default_rng(seed)
    images = some_images(rng, num_classes=4)
    # Truth of the classes 2..5, detections of the classes 1..4, and nothing of the class 6.
    precision, _ = assert_equals_pycocotools(
        [image._replace(truth=replace(image.truth, labels=image.truth.labels + 1)) for image in images], 6
    )
    assert (precision[:, :, 0] == -1).all()
    assert (precision[:, :, 4, 0] == 0).all()
    assert (precision[:, :, 5] == -1).all()


@pytest.mark.parametrize("sizes", [[], [(0, 0)], [(0, 5), (0, 3)], [(6, 0), (3, 0)], [(0, 300)], [(5, 0), (0, 5)]])
def test_equals_pycocotools_where_little_or_nothing_is(sizes):
    assert_equals_pycocotools(some_images(np.random.default_rng(0), 2, sizes), 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_portions_change_nothing(seed, monkeypatch):
    monkeypatch.setattr(average_precision, "_PAIRS_AT_ONCE", 7)
    assert_equals_pycocotools(some_images(np.random.default_rng(seed)), 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_float32_boxes_and_scores_equal_pycocotools(seed):
    images = random_images(6, 30, 2, seed)

    def narrowed(table, *names):
        return replace(table, **{name: getattr(table, name).astype(np.float32) for name in names})

    narrow = [
        image._replace(
            truth=narrowed(image.truth, "boxes", "areas"), detections=narrowed(image.detections, "boxes", "scores")
        )
        for image in images
    ]
    assert_equals_pycocotools(narrow, 2)


def test_degenerate_boxes_equal_pycocotools():
    image = some_images(np.random.default_rng(0), 2, [(6, 12)])[0]
    image.detections.boxes[:4, 2:] = image.detections.boxes[:4, :2] - [[0, 0], [3, 3], [0, 3], [-5, 0]]
    image.truth.boxes[:1, 2:] = image.truth.boxes[:1, :2]
    assert_equals_pycocotools([image], 2)


def one_class(boxes, crowd, areas, detected_boxes, scores):
    ones = np.ones(max(len(boxes), len(detected_boxes)), int)
    return EvaluatedImage(
        1,
        "1.jpg",
        (400, 400),
        Instances(
            np.array(boxes, float),
            ones[: len(boxes)],
            np.array(crowd, bool),
            np.array(areas, float),
            np.arange(len(boxes)),
        ),
        Detections(np.array(detected_boxes, float), ones[: len(detected_boxes)], np.array(scores)),
    )


def test_crowd_excuses_many_detections():
    inside = [[x, 0, x + 10, 10] for x in (100, 120, 140)]  # each far smaller than the crowd
    image = one_class(
        [[0, 0, 50, 50], [100, 0, 300, 100]], [0, 1], [2500, 20000], [*inside, [0, 0, 50, 50]], [0.9, 0.8, 0.7, 0.6]
    )
    precision, recall = precision_and_recall([image], 1)
    np.testing.assert_allclose(precision[:, :, 0, 0, 2], 1)
    assert (recall[:, 0, 0, 2] == 1).all()
    assert (recall[:, 0, 0, 0] == 0).all()  # the best detection alone finds nothing


def test_of_truths_equally_near_the_last_is_taken():
    # The first detection fits both, the second only the one that is left: which is decided by the order of the truths.
    pair = [[0, 0, 100, 90], [0, 10, 100, 100]]
    image = one_class(pair, [0, 0], [9000, 9000], [[0, 0, 100, 100], [0, 0, 100, 90]], [0.9, 0.8])
    _, found = precision_and_recall([image], 1)
    assert found[8, 0, 0, 2] == 1  # at IoU 0.9
    other = image._replace(truth=replace(image.truth, boxes=image.truth.boxes[::-1]))
    _, found = precision_and_recall([other], 1)
    assert found[8, 0, 0, 2] == 0.5
