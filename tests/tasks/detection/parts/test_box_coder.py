import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder as TheirBoxCoder
from torchvision.models.detection._utils import BoxLinearCoder

from vertebra.tasks.detection.parts.box_coder import BoxCoder, DistanceCoder


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random_boxes(*shape, extent=100.0):
    corner, size = extent * torch.rand(*shape, 2), 1 + extent * torch.rand(*shape, 2)
    return torch.cat((corner, corner + size), dim=-1)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_coding_equals_torchvisions(weights):
    boxes, references = random_boxes(40), random_boxes(40)
    theirs, ours = TheirBoxCoder(weights), BoxCoder(weights)
    torch.testing.assert_close(ours.encode(boxes, references), theirs.encode_single(boxes, references))
    deltas = 3 * torch.randn(40, 4)
    torch.testing.assert_close(ours.decode(deltas, references), theirs.decode_single(deltas, references))


def test_decoding_undoes_encoding():
    boxes, references = random_boxes(2, 50).double(), random_boxes(2, 50).double()
    coder = BoxCoder((10.0, 20.0, 5.0, 2.5))
    torch.testing.assert_close(coder.decode(coder.encode(boxes, references), references), boxes)
    assert coder.encode(boxes, boxes).abs().max() == 0


def test_a_wild_prediction_stays_finite():
    reference = torch.tensor([[10.0, 10.0, 26.0, 42.0]])
    box = BoxCoder().decode(torch.full((1, 4), 1e4) * torch.tensor([0.0, 0.0, 1.0, 1.0]), reference)
    assert (box[0, 2] - box[0, 0]).item() == pytest.approx(1000, rel=1e-4)  # 1000 / 16 of 16 pixels
    assert (box[0, 3] - box[0, 1]).item() == pytest.approx(2000, rel=1e-4)


def test_boxes_without_area_are_not_hidden():
    delta = BoxCoder().encode(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
    assert delta[0, 2].item() == -math.inf  # the caller masks it; a made-up number would train


def test_distances_equal_torchvisions_on_squares():
    boxes, corner, side = random_boxes(40), 100 * torch.rand(40, 2), 1 + 30 * torch.rand(40, 1)
    squares = torch.cat((corner, corner + side), dim=1)
    theirs, ours = BoxLinearCoder(normalize_by_size=True), DistanceCoder()
    torch.testing.assert_close(ours.encode(boxes, squares), theirs.encode(squares, boxes))
    deltas = torch.rand(40, 4)
    torch.testing.assert_close(ours.decode(deltas, squares), theirs.decode(deltas, squares))


def test_distances_to_the_sides():
    box, square = torch.tensor([2.0, 0.0, 20.0, 32.0]), torch.tensor([4.0, 4.0, 12.0, 12.0])  # around (8, 8)
    distances = DistanceCoder().encode(box, square)
    assert distances.tolist() == [6 / 8, 8 / 8, 12 / 8, 24 / 8]
    assert torch.equal(DistanceCoder().decode(distances, square), box)
    wide = torch.tensor([0.0, 4.0, 16.0, 12.0])  # around (8, 8), twice as wide
    assert DistanceCoder().encode(box, wide).tolist() == [6 / 16, 8 / 8, 12 / 16, 24 / 8]
    assert torch.equal(DistanceCoder().decode(DistanceCoder().encode(box, wide), wide), box)
