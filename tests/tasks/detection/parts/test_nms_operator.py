"""Suppression as one operator of fixed shapes."""

import pytest
import torch

from vertebra.tasks.detection.parts.nms import grouped_nms
from vertebra.tasks.detection.parts.nms_operator import nms_mask


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_each_group_and_class_is_suppressed_by_itself(threshold):
    torch.manual_seed(0)
    corner = 30 * torch.rand(3, 40, 2)
    boxes, scores = torch.cat((corner, corner + 5 + 20 * torch.rand(3, 40, 2)), dim=2), torch.rand(3, 2, 40)
    mask = nms_mask(boxes, scores, threshold, 0.3)
    assert mask.shape == scores.shape
    groups = torch.arange(6).view(3, 2, 1).expand(3, 2, 40)
    rows = (scores > 0.3).nonzero()
    kept = grouped_nms(boxes[rows[:, 0], rows[:, 2]], scores[tuple(rows.T)], groups[tuple(rows.T)], threshold)
    assert torch.equal(mask.nonzero(), rows[kept.sort().values])
    assert (threshold == 1.0) == (len(kept) == len(rows))


def test_boxes_at_the_least_score_take_no_part():
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]]])
    assert nms_mask(boxes, torch.tensor([[[0.3, 0.2]]]), 0.5, 0.2).tolist() == [[[True, False]]]
    assert not nms_mask(boxes, torch.tensor([[[0.3, 0.2]]]), 0.5, 0.3).any()
