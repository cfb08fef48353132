import pytest
import torch
from torchvision.ops import batched_nms

from tasks.detection.nms import batched_nms_mask, grouped_nms


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random_boxes(*shape):
    """Crowded enough for boxes of one group to overlap nearly whole."""
    corner, size = 20 * torch.rand(*shape, 2), 60 + 20 * torch.rand(*shape, 2)
    return torch.cat((corner, corner + size), dim=-1)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_groups_equal_torchvisions(threshold):
    boxes, scores, groups = random_boxes(300), torch.rand(300), torch.randint(0, 7, (300,))
    expected = batched_nms(boxes, scores, groups, threshold)
    assert 7 <= len(expected) < 300
    assert torch.equal(grouped_nms(boxes, scores, groups, threshold), expected)


def test_many_groups_of_large_boxes_keep_their_overlaps():
    # a shift in single precision would move these boxes by whole pixels
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 4.9], [0.0, 0.0, 10.0, 5.1]])
    groups = torch.tensor([0, 0, 0]) + 90_000
    boxes = torch.cat((boxes, torch.tensor([[1300.0, 0.0, 1333.0, 10.0]])))
    groups = torch.cat((groups, torch.tensor([0])))
    kept = grouped_nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.1]), groups, 0.5)
    assert kept.tolist() == [0, 1, 3]


@pytest.mark.parametrize("threshold", [0.6, 0.8])
def test_mask_equals_torchvisions_image_by_image(threshold):
    boxes, scores = random_boxes(3, 60), torch.rand(3, 60)
    mask = batched_nms_mask(boxes, scores, threshold)
    for i in range(3):
        kept = batched_nms(boxes[i], scores[i], torch.zeros(60, dtype=torch.int64), threshold)
        assert mask[i].nonzero()[:, 0].tolist() == sorted(kept.tolist())
        assert 0 < len(kept) < 60


def test_nothing_to_suppress():
    nothing = torch.zeros(0, dtype=torch.int64)
    kept = grouped_nms(torch.zeros(0, 4), torch.zeros(0), nothing, 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64
    assert batched_nms_mask(torch.zeros(2, 0, 4), torch.zeros(2, 0), 0.5).shape == (2, 0)


def test_boxes_without_area_suppress_nothing():
    boxes = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 0.0, 0.0]]])
    assert batched_nms_mask(boxes, torch.tensor([[0.9, 0.5, 0.8]]), 0.0)[0, 1]
