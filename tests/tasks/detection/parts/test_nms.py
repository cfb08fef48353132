import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import batched_nms

from vertebra.tasks.detection.parts import nms as nms_file
from vertebra.tasks.detection.parts.nms import fixed_shape_nms_mask, grouped_nms, nms_masks


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


@pytest.mark.parametrize("num_groups", [1, 7, 900])
def test_many_boxes_equal_few(num_groups, monkeypatch):
    boxes, groups = random_boxes(1500), torch.randint(0, num_groups, (1500,))
    scores = torch.randint(0, 40, (1500,)) / 40  # with ties
    found = grouped_nms(boxes, scores, groups, 0.6)
    monkeypatch.setattr("vertebra.tasks.detection.parts.nms.MANY", 10_000)
    assert torch.equal(found, grouped_nms(boxes, scores, groups, 0.6))
    assert len(found) < 1500


@pytest.mark.parametrize("threshold", [0.6, 0.8])
def test_masks_equal_torchvisions_level_by_level_and_image_by_image(threshold):
    levels = [random_boxes(3, 60), random_boxes(3, 17)]
    for boxes, mask in zip(levels, nms_masks(levels, threshold), strict=True):
        count = boxes.shape[1]
        assert mask.shape == (3, count)
        for i in range(3):
            groups = torch.zeros(count, dtype=torch.int64)
            kept = batched_nms(boxes[i], torch.arange(count, 0, -1).float(), groups, threshold)
            assert mask[i].nonzero()[:, 0].tolist() == sorted(kept.tolist())
            assert 0 < len(kept) < count


@pytest.mark.parametrize("count", [1, 63, 64, 65, 300])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 0.9])
def test_the_one_that_does_not_wait_says_the_same(count, threshold):
    boxes = torch.cat((random_boxes(4, count), 300 * torch.rand(4, count, 1) + random_boxes(4, count)), dim=0)
    boxes[0, ::5] = 0.0  # padding
    boxes[1, 1::2] = boxes[1, : count // 2]  # each box twice
    (expected,) = nms_masks([boxes], threshold)
    assert torch.equal(fixed_shape_nms_mask(boxes, threshold), expected)
    assert torch.equal(fixed_shape_nms_mask(boxes.view(2, 4, count, 4), threshold), expected.view(2, 4, count))


def test_nothing_to_suppress():
    nothing = torch.zeros(0, dtype=torch.int64)
    kept = grouped_nms(torch.zeros(0, 4), torch.zeros(0), nothing, 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64
    assert nms_masks([torch.zeros(2, 0, 4)], 0.5)[0].shape == (2, 0)
    assert fixed_shape_nms_mask(torch.zeros(2, 0, 4), 0.5).shape == (2, 0)


@pytest.mark.parametrize(
    "masks", [lambda boxes: nms_masks([boxes], 0.0)[0], lambda boxes: fixed_shape_nms_mask(boxes, 0.0)]
)
def test_boxes_without_area_suppress_nothing(masks):
    boxes = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 10.0, 10.0]]])
    assert masks(boxes)[0, 2]


@pytest.mark.parametrize("has_kernels", [False, True])
def test_evaluation_suppresses_in_kernels_where_they_run(has_kernels, monkeypatch):
    launched, one_by_one = [], []

    def kernel(boxes, threshold):
        launched.append(boxes.shape)
        return torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)

    def operator(boxes, threshold):
        one_by_one.append(boxes.shape)
        return torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)

    monkeypatch.setattr(nms_file, "triton_kernel", lambda name, device: kernel if has_kernels else None)
    monkeypatch.setattr(nms_file, "_one_nms_mask", operator)
    with FakeTensorMode():
        masks = nms_masks([torch.zeros(2, count, 4, device="cuda") for count in (8, 5)], 0.5)
    assert [mask.shape for mask in masks] == [(2, 8), (2, 5)]
    assert launched == ([(4, 8, 4)] if has_kernels else [])
    assert one_by_one == ([] if has_kernels else [(8, 4), (8, 4), (5, 4), (5, 4)])
