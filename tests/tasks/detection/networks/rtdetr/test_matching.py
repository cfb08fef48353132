from itertools import permutations

import pytest
import torch

from vertebra.tasks.detection.networks.rtdetr.matching import HungarianMatcher, assign


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_the_sum_of_costs_is_the_least():
    costs = torch.randn(2, 3, 5, 3)
    objects = assign(costs)
    for layer in range(2):
        for image in range(3):
            table = costs[layer, image]
            best = min(sum(table[q, g] for g, q in enumerate(rows)) for rows in permutations(range(5), 3))
            matched = objects[layer, image] >= 0
            assert sorted(objects[layer, image][matched].tolist()) == [0, 1, 2]
            assert table[matched, objects[layer, image][matched]].sum() == pytest.approx(best.item(), abs=1e-6)


def test_padding_is_never_matched():
    boxes, logits = torch.rand(2, 3, 6, 4), torch.randn(2, 3, 6, 4)
    labels = torch.tensor([[2, 0, 4], [0, 0, 0], [1, 1, 3]])
    objects = HungarianMatcher()(logits, boxes, torch.rand(3, 3, 4), labels)
    for layer in objects:
        assert [sorted(set(image.tolist()) - {-1}) for image in layer] == [[0, 2], [], [0, 1, 2]]


def test_an_object_gets_the_query_that_is_it():
    true_boxes = torch.tensor([[[0.3, 0.3, 0.2, 0.2], [0.7, 0.6, 0.3, 0.4]]])
    boxes = torch.cat((true_boxes.flip(1), true_boxes), dim=1)[None]  # each box is there twice
    logits = torch.full((1, 1, 4, 3), -3.0)
    logits[0, 0, 0, 1] = logits[0, 0, 3, 1] = 2.0  # of the second object
    logits[0, 0, 1, 0] = -6.0  # less of the first object's class than its copy
    objects = HungarianMatcher()(logits, boxes, true_boxes, torch.tensor([[1, 2]]))
    assert objects[0, 0, 0] == 1 or objects[0, 0, 3] == 1
    assert objects[0, 0, 2] == 0


def test_more_objects_than_queries():
    objects = assign(torch.randn(1, 1, 2, 5))
    assert (objects >= 0).all()
    assert objects[0, 0, 0] != objects[0, 0, 1]


def test_a_query_that_is_not_finite_is_matched_last():
    boxes, logits = torch.rand(1, 1, 3, 4), torch.randn(1, 1, 3, 2)
    boxes[0, 0, 1] = float("nan")
    objects = HungarianMatcher()(logits, boxes, torch.rand(1, 2, 4), torch.tensor([[1, 2]]))
    assert objects[0, 0, 1] == -1
