import numpy as np
import pytest

from vertebra.tasks.detection.annotations.instances import Detections, Instances
from vertebra.tasks.detection.evaluation.confusion import ImageErrors, confusion_matrix, image_errors
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage

A, B, FAR = [10, 10, 50, 50], [60, 10, 100, 50], [200, 200, 240, 240]


def image(truth, found, crowd=()):
    """An image of (box, label) truths and (box, label, score) detections; `crowd` are indices of truths."""
    boxes = np.array([box for box, _ in truth], float).reshape(-1, 4)
    return EvaluatedImage(
        image_id=1,
        file="1.jpg",
        size=(300, 300),
        truth=Instances(
            boxes=boxes,
            labels=np.array([label for _, label in truth], int),
            crowd=np.isin(np.arange(len(truth)), crowd),
            areas=np.zeros(len(truth)),
            ids=np.arange(len(truth)),
        ),
        detections=Detections(
            boxes=np.array([box for box, _, _ in found], float).reshape(-1, 4),
            labels=np.array([label for _, label, _ in found], int),
            scores=np.array([score for _, _, score in found], float),
        ),
    )


def entries(matrix):
    return {(int(i), int(j)): int(matrix[i, j]) for i, j in np.argwhere(matrix)}


def test_right_wrong_missed_and_invented():
    one = image([(A, 1), (B, 2), (FAR, 2)], [(A, 1, 0.9), (B, 1, 0.8), ([0, 100, 40, 140], 2, 0.7)])
    matrix = confusion_matrix([one, one], num_classes=2)
    assert entries(matrix) == {(1, 1): 2, (2, 1): 2, (2, 0): 2, (0, 2): 2}
    assert matrix.shape == (3, 3)
    assert image_errors(one) == ImageErrors(correct=1, misses=1, false_positives=1, wrong_classes=1)
    assert image_errors(one).f1 == pytest.approx(2 / (3 + 3))  # three objects, three detections, one right


def test_an_object_is_found_once_and_by_the_highest_score():
    one = image([(A, 1)], [([12, 12, 52, 52], 1, 0.6), (A, 2, 0.9)])
    assert entries(confusion_matrix([one], 2)) == {(1, 2): 1, (0, 1): 1}


def test_the_best_overlap_wins():
    shifted = [20, 10, 60, 50]
    one = image([(A, 1), (shifted, 2)], [([19, 10, 59, 50], 2, 0.9)])
    assert entries(confusion_matrix([one], 2)) == {(2, 2): 1, (1, 0): 1}


def test_of_two_objects_in_one_box_a_detection_takes_its_own_class():
    one = image([(A, 1), (A, 2)], [(A, 2, 0.9), (A, 1, 0.8)])
    assert entries(confusion_matrix([one], 2)) == {(1, 1): 1, (2, 2): 1}


def test_thresholds():
    one = image([(A, 1)], [([10, 10, 50, 40], 1, 0.4)])  # IoU 0.75
    assert entries(confusion_matrix([one], 1)) == {(1, 0): 1}
    assert entries(confusion_matrix([one], 1, score_threshold=0.4)) == {(1, 1): 1}
    assert entries(confusion_matrix([one], 1, iou_threshold=0.8, score_threshold=0.4)) == {(1, 0): 1, (0, 1): 1}


def test_what_lies_on_a_crowd_is_neither_right_nor_wrong():
    crowd = [0, 0, 120, 120]
    one = image([(crowd, 1), (B, 1)], [(A, 1, 0.9), (B, 1, 0.8), (FAR, 1, 0.7)], crowd=[0])
    assert entries(confusion_matrix([one], 1)) == {(1, 1): 1, (0, 1): 1}


def test_empty_images():
    assert confusion_matrix([image([], [])], 2).sum() == 0
    assert confusion_matrix([], 2).shape == (3, 3)
    assert image_errors(image([], [])).f1 == 1
    assert image_errors(image([], [(A, 1, 0.9)])).f1 == 0
    assert image_errors(image([(A, 1)], [])).f1 == 0


def test_degenerate_boxes_match_nothing():
    point = [10, 10, 10, 10]
    assert entries(confusion_matrix([image([(point, 1)], [(point, 1, 0.9)])], 1)) == {(1, 0): 1, (0, 1): 1}
