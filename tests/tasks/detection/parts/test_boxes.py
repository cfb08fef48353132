import pytest
import torch
from torchvision.ops import box_iou, clip_boxes_to_image

from vertebra.tasks.detection.parts.boxes import area, clip, coverage, has_size, intersection, iou, take


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random_boxes(*shape, extent=100.0):
    corner, size = extent * torch.rand(*shape, 2), 1 + extent * torch.rand(*shape, 2)
    return torch.cat((corner, corner + size), dim=-1)


def test_iou_equals_torchvisions_in_every_image():
    a, b = random_boxes(3, 7), random_boxes(3, 5)
    expected = torch.stack([box_iou(*pair) for pair in zip(a, b, strict=True)])
    torch.testing.assert_close(iou(a, b), expected)


def test_iou_broadcasts_boxes_that_all_images_share():
    a, b = random_boxes(3, 7), random_boxes(5)
    torch.testing.assert_close(iou(a, b), torch.stack([box_iou(boxes, b) for boxes in a]))


def test_iou_by_hand():
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    b = torch.tensor(
        [[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [10.0, 0.0, 20.0, 10.0], [20.0, 20.0, 21.0, 21.0]]
    )
    assert iou(a, b).tolist() == [[1.0, pytest.approx(1 / 3), 0.0, 0.0]]
    assert intersection(a, b).tolist() == [[100, 50, 0, 0]]
    assert area(b).tolist() == [100, 100, 100, 1]


def test_coverage_is_the_part_of_the_box_and_not_of_the_region():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [90.0, 0.0, 110.0, 10.0]])
    regions = torch.tensor([[0.0, 0.0, 100.0, 100.0], [5.0, 0.0, 100.0, 100.0], [200.0, 0.0, 300.0, 9.0]])
    assert coverage(boxes, regions).tolist() == [[1.0, 0.5, 0.0], [0.5, 0.5, 0.0]]


@pytest.mark.parametrize("classes", [(), (3,)])
def test_clipping_equals_torchvisions_in_every_image(classes):
    boxes = random_boxes(2, 9, *classes) - 40
    sizes = torch.tensor([[30, 80], [120, 50]])
    expected = [clip_boxes_to_image(b, tuple(size)) for b, size in zip(boxes, sizes.tolist(), strict=True)]
    assert torch.equal(clip(boxes, sizes), torch.stack(expected))


def test_least_size_counts_both_sides():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.9, 9.0], [0.0, 0.0, 9.0, 1.9], [5.0, 5.0, 5.0, 5.0]])
    assert has_size(boxes, 2.0).tolist() == [True, False, False, False]


def test_take_picks_rows_of_each_image():
    boxes = random_boxes(2, 5)
    indices = torch.tensor([[4, 0, 4], [1, 2, 3]])
    assert torch.equal(take(boxes, indices), torch.stack([boxes[0][[4, 0, 4]], boxes[1][[1, 2, 3]]]))
