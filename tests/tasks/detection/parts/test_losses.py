import pytest
import torch
import torchvision.ops

from vertebra.tasks.detection.parts.assigners import IGNORE
from vertebra.tasks.detection.parts.box_coder import BoxCoder
from vertebra.tasks.detection.parts.losses import GIoU, SmoothL1, sigmoid_focal_loss

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


def random_boxes(*shape):
    corner, size = 60 * torch.rand(*shape, 2), 10 + 40 * torch.rand(*shape, 2)
    return torch.cat((corner, corner + size), dim=-1)


def test_giou_equals_torchvisions():
    torch.manual_seed(0)
    coder, boxes, references = BoxCoder(), random_boxes(2, 30), random_boxes(30)
    ours, theirs = (torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "ab")
    found = GIoU()(coder, ours, references, boxes, torch.ones(2, 30, dtype=torch.bool))
    expected = torchvision.ops.generalized_box_iou_loss(coder.decode(theirs, references), boxes)
    torch.testing.assert_close(found, expected)
    assert 0 < found.min() < 1 < found.max() < 2
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_giou_looks_only_where_it_counts():
    given = torch.tensor([[[0.1, 0.2, 0.3, 0.4], [0.0] * 4, [0.0, 0.0, -200.0, -200.0]]], requires_grad=True)
    boxes = torch.tensor([[[5.0, -5.0, 15.0, 5.0], [float("nan")] * 4, [0.0] * 4]])
    loss = GIoU()(BoxCoder(), given, ANCHOR, boxes, torch.tensor([[True, False, False]]))
    assert loss[0, 0] > 0
    assert loss[0, 1:].tolist() == [0, 0]
    loss.sum().backward()
    assert given.grad[0, 0].all()
    assert given.grad[0, 1:].tolist() == [[0] * 4] * 2


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.5), (0.5, 0.0)])
def test_focal_loss_equals_torchvisions(alpha, gamma):
    torch.manual_seed(0)
    logits = 5 * torch.randn(2, 40, 6)
    labels = torch.randint(-1, 7, (2, 40))
    wanted = torch.zeros(2, 40, 7).scatter_(2, labels.clamp(min=0)[..., None], 1.0)[..., 1:]
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = sigmoid_focal_loss(ours, labels, alpha, gamma)
    expected = torchvision.ops.sigmoid_focal_loss(theirs, wanted, alpha, gamma).sum(dim=-1) * (labels != IGNORE)
    torch.testing.assert_close(found, expected)
    assert {IGNORE, 0, 1, 6} <= set(labels.unique().tolist())
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_focal_loss_has_the_gradient_of_its_values():
    torch.manual_seed(0)
    logits = (3 * torch.randn(9, 4, dtype=torch.float64)).requires_grad_()
    labels = torch.tensor([IGNORE, 0, 0, 1, 2, 3, 4, 4, 0])
    torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, labels, 0.25, 2.0), logits)


def test_focal_loss_of_extreme_logits_is_finite():
    logits = torch.tensor([[1e4, -1e4]] * 3, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([1, 2, IGNORE]))
    torch.testing.assert_close(loss, torch.tensor([0.0, 1e4 * (0.75 + 0.25), 0.0]))
    loss.sum().backward()
    assert logits.grad.isfinite().all()
