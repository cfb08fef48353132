import pytest
import torch

from vertebra.tasks.detection.box_coder import BoxCoder
from vertebra.tasks.detection.losses import SmoothL1

ANCHOR = torch.tensor([0.0, 0.0, 10.0, 10.0])


def test_smooth_l1_looks_only_where_it_counts():
    given = torch.zeros(1, 3, 4, requires_grad=True)
    boxes = torch.tensor([[[10.0, 0.0, 20.0, 10.0], [float("nan")] * 4, [0.0] * 4]])  # a width to the right, padding
    loss = SmoothL1(beta=1 / 9)(BoxCoder(), given, ANCHOR, boxes, torch.tensor([[True, False, False]])).sum()
    assert loss.item() == pytest.approx(1 - 0.5 / 9)
    loss.backward()
    assert given.grad.tolist() == [[[-1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]]


def test_beta_of_zero_is_l1():
    boxes = torch.tensor([[[1.0, 0.0, 11.0, 10.0], [-30.0, 0.0, -20.0, 10.0]]])
    loss = SmoothL1(beta=0.0)(BoxCoder(), torch.zeros(1, 2, 4), ANCHOR, boxes, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(loss.sum(dim=-1), torch.tensor([[0.1, 3.0]]))
