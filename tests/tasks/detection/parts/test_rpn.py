import pytest
import torch
from torch import nn

from vertebra.tasks.detection.parts.anchors import AnchorGenerator
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tasks.detection.parts.rpn import ProposalSelection, RegionProposalNetwork, RPNHead
from vertebra.tasks.detection.parts.sampling import BalancedSampler

SIZE = (64, 96)
EVERYTHING = BalancedSampler(10_000, object_fraction=0.5)  # no chance


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pyramid(num_images=2, channels=4):
    return {f"P{i}": torch.randn(num_images, channels, SIZE[0] // 2**i, SIZE[1] // 2**i) for i in (2, 3, 4)}


def network(sampler=None, deviation=0.3, **selection):
    head = RPNHead(4, num_anchors=3)
    for parameter in head.parameters():  # far from the start, where all anchors are alike
        nn.init.normal_(parameter, std=deviation)
    anchors = AnchorGenerator(((8,), (16,), (32,)))
    return RegionProposalNetwork(head, anchors, ProposalSelection(**selection), sampler)


def targets(*counts):
    boxes = torch.tensor([[5.0, 6.0, 30.0, 28.0], [40.0, 8.0, 90.0, 60.0], [2.0, 40.0, 14.0, 50.0]])
    return pad_targets([{"boxes": boxes[:n], "labels": torch.ones(n, dtype=torch.int64)} for n in counts])


def sizes(*rows):
    return torch.tensor(rows or [SIZE, SIZE])


def test_head_speaks_in_the_order_of_the_anchors():
    maps = [torch.zeros(1, 4, 4, 6), torch.zeros(1, 4, 2, 3)]
    maps[0][0, :, 1, 2] = 1.0  # the first level is 4 rows of 6 pixels of 3 anchors
    head = RPNHead(4, num_anchors=3)
    logits, deltas = head(maps)
    assert [x.shape for x in logits] == [(1, 72), (1, 18)]
    assert [x.shape for x in deltas] == [(1, 72, 4), (1, 18, 4)]
    expected = head.conv(maps[0])
    pixel = (2 * 6 + 3) * 3  # the neighbor below and right, which the 3x3 convolution reaches
    torch.testing.assert_close(logits[0][0, pixel : pixel + 3], head.cls_logits(expected)[0, :, 2, 3])
    torch.testing.assert_close(deltas[0][0, pixel : pixel + 3].flatten(), head.bbox_pred(expected)[0, :, 2, 3])


@pytest.mark.parametrize("norm", [None, "batch", "frozen", "group"])
def test_head_takes_any_norm(norm):
    head = RPNHead(8, num_anchors=3, num_convs=2, norm=norm)
    logits, _ = head([torch.randn(2, 8, 4, 4)])
    logits[0].sum().backward()
    assert len(head.conv) == 2
    assert (head.conv[0][0].bias is None) == (norm is not None)


@pytest.mark.parametrize("training", [False, True])
def test_proposals_are_inside_sorted_and_counted(training):
    rpn = network(per_level=50, per_image=40, per_level_eval=30, per_image_eval=20).train(training)
    inside = sizes([50, 96], [64, 33])
    proposals, losses = rpn(pyramid(), SIZE, inside)
    assert losses == {}
    assert proposals.boxes.shape == (2, 40 if training else 20, 4)
    assert proposals.valid.shape == proposals.boxes.shape[:2]
    assert proposals.valid.any(dim=1).all()
    for boxes, valid, (height, width) in zip(*proposals, inside.tolist(), strict=True):
        assert (boxes >= 0).all()
        assert (boxes[:, [0, 2]] <= width).all()
        assert (boxes[:, [1, 3]] <= height).all()
        assert (boxes[valid][:, 2:] > boxes[valid][:, :2]).all()
        assert boxes[~valid].abs().sum() == 0
        assert valid.int().diff().max() <= 0  # padding is behind


def test_proposals_carry_no_gradient():
    proposals, _ = network()(pyramid(), SIZE, sizes())
    assert not proposals.boxes.requires_grad


def test_suppression_is_within_a_level():
    rpn = network(nms_threshold=0.7, per_image=5000, per_level=5000)
    anchors = torch.tensor([[10.0, 10.0, 30.0, 30.0], [11.0, 10.0, 31.0, 30.0], [10.0, 10.0, 30.0, 30.0]])
    logits = [torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0]])]
    deltas = [torch.zeros(1, 2, 4), torch.zeros(1, 1, 4)]
    proposals = rpn.propose(logits, deltas, anchors, sizes(SIZE))
    assert proposals.valid.tolist() == [[True, True, False]]
    assert proposals.boxes[0].tolist() == [[11, 10, 31, 30], [10, 10, 30, 30], [0, 0, 0, 0]]  # best first


def test_what_clipping_leaves_of_an_outside_box_is_no_proposal():
    rpn = network()
    anchors = torch.tensor([[70.0, 0.0, 90.0, 20.0], [0.0, 0.0, 20.0, 20.0]])
    proposals = rpn.propose([torch.tensor([[5.0, 1.0]])], [torch.zeros(1, 2, 4)], anchors, sizes([64, 70]))
    assert proposals.valid.tolist() == [[True, False]]
    assert proposals.boxes.tolist() == [[[0, 0, 20, 20], [0, 0, 0, 0]]]


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (2, 1)])
def test_losses_and_gradients_are_finite(counts):
    rpn = network()
    proposals, losses = rpn(pyramid(), SIZE, sizes(), targets(*counts))
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg"}
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_objectness"] > 0
    assert (losses["loss_rpn_box_reg"] > 0) == (sum(counts) > 0)
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in rpn.parameters())
    assert proposals.boxes.isfinite().all()


def test_a_crowd_over_everything_leaves_nothing_to_learn():
    rpn = network()
    crowd = {
        "boxes": torch.tensor([[-99.0, -99.0, 999.0, 999.0]]),
        "labels": torch.tensor([1]),
        "crowd": torch.tensor([True]),
    }
    _, losses = rpn(pyramid(1), SIZE, sizes(SIZE), pad_targets([crowd]))
    assert {name: loss.item() for name, loss in losses.items()} == {"loss_objectness": 0, "loss_rpn_box_reg": 0}
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in rpn.parameters())


def test_padding_of_the_targets_never_changes_losses():
    rpn, maps = network(EVERYTHING), pyramid()
    truth = targets(2, 1)
    padded = truth._replace(
        boxes=torch.cat((truth.boxes, torch.zeros(2, 6, 4)), dim=1),
        labels=torch.cat((truth.labels, torch.zeros(2, 6, dtype=torch.int64)), dim=1),
        ignored=torch.zeros(2, 3, 4),
    )
    _, expected = rpn(maps, SIZE, sizes(), truth)
    _, found = rpn(maps, SIZE, sizes(), padded)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss)


def test_losses_of_a_batch_are_those_of_its_images():
    rpn, maps, truth = network(EVERYTHING), pyramid(), targets(2, 1)
    _, together = rpn(maps, SIZE, sizes(), truth)
    total, taken = dict.fromkeys(together, 0.0), 0
    for i in range(2):
        one = {name: x[i : i + 1] for name, x in maps.items()}
        of_image = truth._replace(**{name: x[i : i + 1] for name, x in truth._asdict().items() if x is not None})
        counts = []
        rpn.sampler = lambda labels, counts=counts: counts.append((labels >= 0).sum().item()) or EVERYTHING(labels)
        _, losses = rpn(one, SIZE, sizes(SIZE), of_image)
        total = {name: total[name] + loss * counts[0] for name, loss in losses.items()}
        taken += counts[0]
    for name, loss in together.items():
        torch.testing.assert_close(loss, total[name] / taken)


def test_detections_on_a_cpu_need_no_proposals_that_are_padding_everywhere(monkeypatch):
    network_, features = network(per_level_eval=100, per_image_eval=300).eval(), pyramid()
    found, _ = network_(features, SIZE, sizes())
    assert found.valid.any(dim=0).all()
    monkeypatch.setattr(type(found), "trimmed", lambda self: self)
    padded, _ = network_(features, SIZE, sizes())
    assert found.boxes.shape[1] < padded.boxes.shape[1] == 272
    count = found.boxes.shape[1]
    torch.testing.assert_close(found.boxes, padded.boxes[:, :count], rtol=0, atol=0)
    assert not padded.valid[:, count:].any()
    nothing = found._replace(valid=torch.zeros_like(found.valid))
    monkeypatch.undo()
    assert nothing.trimmed().boxes.shape == (2, 1, 4)
