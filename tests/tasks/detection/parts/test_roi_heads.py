import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from vertebra.backbones import Level
from vertebra.tasks.detection.parts.assigners import IGNORE
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tasks.detection.parts.box_branch import BoxBranch, BoxPredictor, ConvHead, MLPHead
from vertebra.tasks.detection.parts.boxes import area, take
from vertebra.tasks.detection.parts.roi_align import RoIAlign
from vertebra.tasks.detection.parts.roi_heads import RoIBranch, RoIHeads
from vertebra.tasks.detection.parts.rpn import Proposals
from vertebra.tasks.detection.parts.sampling import BalancedSampler
from vertebra.tasks.detection.parts.selection import DetectionSelection
from vertebra.tasks.training.divergence.finite_outputs import OutputChecks

HEIGHT, WIDTH = 64, 96
LEVELS = (Level("P2", 4, 4), Level("P3", 4, 8))
NUM_CLASSES = 3
EVERYTHING = BalancedSampler(10_000, object_fraction=0.5)  # no chance


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def heads(class_agnostic=False, sampler=None, branches=None, **selection):
    predictor = BoxPredictor(16, NUM_CLASSES, class_agnostic)
    nn.init.normal_(predictor.cls_score.weight, std=2.0)
    box_head = MLPHead(4, size=3, out_channels=16)
    box = BoxBranch(RoIAlign(LEVELS, 3), box_head, predictor, DetectionSelection(**selection))
    return RoIHeads(box, sampler=sampler, branches=branches)


def pyramid(num_images=2):
    return {
        level.name: torch.randn(num_images, 4, HEIGHT // level.reduction, WIDTH // level.reduction) for level in LEVELS
    }


def random_proposals(num_valid, num_padded=3, num_images=2):
    corner = torch.rand(num_images, num_valid, 2) * torch.tensor([WIDTH - 30.0, HEIGHT - 30.0])
    boxes = torch.cat((corner, corner + 5 + 25 * torch.rand(num_images, num_valid, 2)), dim=-1)
    padding = torch.zeros(num_images, num_padded, 4)
    valid = (torch.arange(num_valid + num_padded) < num_valid).expand(num_images, -1)
    return Proposals(torch.cat((boxes, padding), dim=1), valid)


def targets(*counts):
    boxes = torch.tensor([[5.0, 6.0, 30.0, 28.0], [40.0, 8.0, 90.0, 60.0], [2.0, 40.0, 14.0, 50.0]])
    return pad_targets([{"boxes": boxes[:n], "labels": torch.arange(1, n + 1)} for n in counts])


def sizes():
    return torch.tensor([[HEIGHT, WIDTH]] * 2)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize(("counts", "num_valid"), [((0, 0), 20), ((0, 2), 20), ((3, 1), 20), ((2, 1), 0), ((0, 0), 0)])
def test_losses_and_gradients_are_finite(class_agnostic, counts, num_valid):
    network = heads(class_agnostic)
    losses = network.losses(pyramid(), random_proposals(num_valid), targets(*counts))
    assert set(losses) == {"loss_classifier", "loss_box_reg"}
    assert all(loss.isfinite() for loss in losses.values())
    assert (losses["loss_classifier"] > 0) == (num_valid + sum(counts) > 0)
    assert (losses["loss_box_reg"] > 0) == (sum(counts) > 0)
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_padding_never_changes_losses():
    network, maps = heads(sampler=EVERYTHING), pyramid()
    proposals, truth = random_proposals(20, num_padded=0), targets(3, 1)
    expected = network.losses(maps, proposals, truth)
    more = Proposals(
        torch.cat((proposals.boxes, torch.zeros(2, 9, 4)), dim=1),
        torch.cat((proposals.valid, torch.zeros(2, 9, dtype=torch.bool)), dim=1),
    )
    padded = truth._replace(
        boxes=torch.cat((truth.boxes, torch.zeros(2, 5, 4)), dim=1),
        labels=torch.cat((truth.labels, torch.zeros(2, 5, dtype=torch.int64)), dim=1),
        ignored=torch.zeros(2, 3, 4),
    )
    found = network.losses(maps, more, padded)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss)


def test_losses_by_hand():
    network = heads(sampler=EVERYTHING)
    logits = torch.tensor([[0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    network.box.predict = lambda features, boxes: (logits, torch.zeros(2, 4, 4))
    proposals = Proposals(torch.tensor([[[40.0, 40.0, 50.0, 50.0]]]), torch.tensor([[True]]))
    losses = network.losses({}, proposals, targets(1))
    expected = -(logits[0].log_softmax(0)[1] + logits[1].log_softmax(0)[0]) / 2  # the true box, then background
    torch.testing.assert_close(losses["loss_classifier"], expected)
    assert losses["loss_box_reg"] == 0  # the true box lies on itself


def test_the_true_class_learns_the_box():
    network = heads(sampler=EVERYTHING)
    deltas = torch.zeros(1, 4, 4, requires_grad=True)
    network.box.predict = lambda features, boxes: (torch.zeros(1, 4), deltas)
    truth = pad_targets([{"boxes": torch.tensor([[10.0, 10.0, 30.0, 30.0]]), "labels": torch.tensor([2])}])
    near = Proposals(torch.tensor([[[11.0, 10.0, 31.0, 30.0]]]), torch.tensor([[True]]))
    network.sampler = lambda labels: BalancedSampler(1, 1.0)(labels.clone().index_fill_(1, torch.tensor([1]), IGNORE))
    network.losses({}, near, truth)["loss_box_reg"].backward()
    assert deltas.grad[0].abs().sum(dim=1).count_nonzero() == 1
    assert deltas.grad[0, 2, 0] > 0  # it moved too far right: dx should fall
    assert deltas.grad[0, 2, 1:].abs().sum() == 0


def test_the_true_boxes_are_among_the_samples():
    truth = targets(3, 1)
    sample = heads().sample(random_proposals(0), truth)
    assert sample.labels.sort(dim=1).values[0, -3:].tolist() == [1, 2, 3]
    objects = sample.labels > 0
    torch.testing.assert_close(sample.boxes[objects], take(truth.boxes, sample.objects)[objects])
    assert objects.sum().item() == 4


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_detections_are_inside_their_image_and_above_the_thresholds(class_agnostic):
    network = heads(class_agnostic, score_threshold=0.2, nms_threshold=0.3, per_image=15).eval()
    inside = torch.tensor([[50, 96], [64, 70]])
    with torch.no_grad():
        found = network(pyramid(), random_proposals(60), inside).per_image()
    assert len(found) == 2
    for detections, (height, width) in zip(found, inside.tolist(), strict=True):
        boxes, scores, labels = (detections[key] for key in ("boxes", "scores", "labels"))
        assert 0 < len(boxes) <= 15
        assert (scores > 0.2).all()
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
        assert labels.dtype == torch.int64
        assert set(labels.tolist()) <= {1, 2, 3}
        assert (boxes >= 0).all()
        assert (boxes[:, [0, 2]] <= width).all()
        assert (boxes[:, [1, 3]] <= height).all()
        for label in labels.unique():
            overlaps = box_iou(boxes[labels == label], boxes[labels == label]).fill_diagonal_(0)
            assert overlaps.max() <= 0.3


def test_each_selection_is_obeyed():
    maps, proposals = pyramid(), random_proposals(60)
    network = heads(score_threshold=0.0, nms_threshold=1.0, per_image=10_000).eval()

    def count(**selection):
        network.box.selection = DetectionSelection(**({"score_threshold": 0.0, "nms_threshold": 1.0} | selection))
        with torch.no_grad():
            return [len(detections["boxes"]) for detections in network(maps, proposals, sizes()).per_image()]

    assert count(per_image=10_000) == [60 * NUM_CLASSES] * 2
    assert count(per_image=7) == [7, 7]
    assert max(count(per_image=10_000, nms_threshold=0.3)) < 60 * NUM_CLASSES
    assert max(count(per_image=10_000, score_threshold=0.5)) < 60
    assert count(score_threshold=1.0) == [0, 0]


def test_the_best_of_each_image_are_kept():
    maps, proposals = pyramid(), random_proposals(60)
    network = heads(score_threshold=0.0, per_image=10_000).eval()
    with torch.no_grad():
        everything = network(maps, proposals, sizes()).per_image()
        network.box.selection.per_image = 5
        best = network(maps, proposals, sizes()).per_image()
    for some, all_of_them in zip(best, everything, strict=True):
        assert torch.equal(some["boxes"], all_of_them["boxes"][:5])
        assert torch.equal(some["scores"], all_of_them["scores"][:5])


def test_padding_is_never_detected():
    network = heads(score_threshold=0.0, nms_threshold=1.0, per_image=10_000).eval()
    with torch.no_grad():
        assert network(pyramid(), random_proposals(4, 30), sizes()).counts.tolist() == [12, 12]
        boxes = random_proposals(30, 0).boxes  # even where the padding has an area
        nothing = network(pyramid(), Proposals(boxes, torch.zeros(2, 30, dtype=torch.bool)), sizes()).per_image()
    for found in nothing:
        assert found["boxes"].shape == (0, 4)
        assert found["scores"].shape == found["labels"].shape == (0,)
        assert found["labels"].dtype == torch.int64


def test_images_do_not_suppress_each_other():
    network = heads(score_threshold=0.0, nms_threshold=0.1, per_image=10_000).eval()
    maps, proposals = ({name: x[:1] for name, x in pyramid().items()}, random_proposals(20, num_images=1))
    twice = Proposals(*(torch.cat((x, x)) for x in proposals))
    with torch.no_grad():
        alone = network(maps, proposals, sizes()[:1]).per_image()[0]
        together = network({name: x.expand(2, -1, -1, -1) for name, x in maps.items()}, twice, sizes()).per_image()
    for found in together:
        for name, x in alone.items():
            torch.testing.assert_close(found[name], x)


def test_detections_by_hand():
    network = heads(score_threshold=0.3, nms_threshold=0.5)
    boxes = torch.tensor([[[0.0, 0.0, 20.0, 20.0], [1.0, 0.0, 21.0, 20.0], [40.0, 0.0, 60.0, 30.0]]])
    probs = torch.tensor([[0.1, 0.9, 0.0, 0.0], [0.1, 0.5, 0.0, 0.4], [0.4, 0.0, 0.6, 0.0]])
    deltas = torch.zeros(3, 4, 4)
    deltas[2, 2, 0] = 10.0  # of the class that it is: one width to the right
    deltas[0, 2] = 99.0  # of a class that it is not
    proposals = Proposals(boxes, torch.ones(1, 3, dtype=torch.bool))
    scored = network.box.score(probs.log(), deltas, proposals, torch.tensor([[64, 70]]), OutputChecks())
    found = network.box.select(scored).per_image()[0]
    assert found["labels"].tolist() == [1, 2, 3]
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.6, 0.4]))
    torch.testing.assert_close(
        found["boxes"], torch.tensor([[0.0, 0.0, 20.0, 20.0], [60.0, 0.0, 70.0, 30.0], [1.0, 0.0, 21.0, 20.0]])
    )


@pytest.mark.parametrize("norm", [None, "batch", "frozen", "group"])
def test_convolutional_head(norm):
    head = ConvHead(8, size=3, out_channels=5, norm=norm)
    assert head.out_channels == 5
    assert sum(isinstance(module, nn.Conv2d) for module in head.modules()) == 4
    found = head(torch.randn(6, 8, 3, 3))
    assert found.shape == (6, 5)
    found.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_predictor_shapes():
    for class_agnostic, rows in ((False, 4), (True, 1)):
        logits, deltas = BoxPredictor(16, NUM_CLASSES, class_agnostic)(torch.randn(5, 16))
        assert logits.shape == (5, 4)
        assert deltas.shape == (5, rows, 4)


class Areas(RoIBranch):
    """A branch that has one weight, and adds the area of each detection."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, features, detections):
        return detections.with_column("areas", self.weight * area(detections["boxes"]))

    def losses(self, features, sample, targets):
        boxes = take(targets.boxes, sample.objects)
        return {"loss_area": (self.weight * area(boxes))[sample.labels > 0].mean()}


def test_a_further_branch_trains_on_the_sample_and_adds_to_the_detections():
    plain, network = heads(sampler=EVERYTHING), heads(sampler=EVERYTHING, branches={"areas": Areas()})
    network.box.load_state_dict(plain.box.state_dict())
    maps, proposals, truth = pyramid(), random_proposals(20), targets(1, 1)
    losses = network.losses(maps, proposals, truth)
    for name, loss in plain.losses(maps, proposals, truth).items():
        torch.testing.assert_close(losses.pop(name), loss)
    assert {name: loss.item() for name, loss in losses.items()} == {"loss_area": 25.0 * 22.0}
    assert "branches.areas.weight" in dict(network.named_parameters())
    with torch.no_grad():
        found, expected = (x.eval()(maps, proposals, sizes()).per_image() for x in (network, plain))
    for of_image, without in zip(found, expected, strict=True):
        assert torch.equal(of_image["areas"], area(without["boxes"]))
        assert torch.equal(of_image["boxes"], without["boxes"])
