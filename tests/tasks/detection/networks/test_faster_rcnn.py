import pytest
import torch
from torch import nn

from detectors import assert_batch_equals_its_images, loss_history
from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import AnchorGenerator, DetectionSelection, ProposalSelection, faster_rcnn
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tasks.detection.parts.sampling import BalancedSampler

NUM_CLASSES = 2
ANCHORS = ((8,), (16,), (32,), (48,), (64,))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def detector(norm="batch", frozen_stages=0, **options):
    options_of_body = BackboneOptions(norm=norm, frozen_stages=frozen_stages)
    body = ResNet(BasicBlock, (1, 1, 1, 1), options_of_body, widths=(8, 16, 24, 32))
    few = ProposalSelection(per_level=100, per_image=60, per_level_eval=60, per_image_eval=40)
    anchors = AnchorGenerator(ANCHORS)
    options = {"proposals": few, "rois_per_image": 32, "channels": 16} | options
    return faster_rcnn(body, NUM_CLASSES, anchors=anchors, **options)


def test_losses_fall(samples):
    network = detector(norm="group").train()
    images, targets = samples(8)
    history = loss_history(network, images, targets, steps=20, lr=2e-3)
    assert set(history[0]) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    first, last = (sum(losses.values()) for losses in (history[0], history[-1]))
    assert last < 0.6 * first
    for name in ("loss_objectness", "loss_classifier"):
        assert history[-1][name] < 0.9 * history[0][name], name


@pytest.mark.parametrize("head_norm", [None, "batch", "frozen", "sync", "group"])
@pytest.mark.parametrize("norm", ["batch", "frozen", "sync", "group"])
def test_one_step_reaches_every_parameter(norm, head_norm, samples):
    network = detector(norm, head_norm=head_norm).train()
    images, targets = samples(2)
    sum(network(images, targets).values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    torch.optim.SGD(network.parameters(), lr=0.01).step()
    assert all(loss.isfinite() for loss in network(images, targets).values())


@pytest.mark.parametrize("neck", ["pafpn", "bifpn"])
@pytest.mark.parametrize("head_norm", [None, "batch"])
def test_one_step_with_every_neck(neck, head_norm, samples):
    network = detector(neck=neck, head_norm=head_norm).train()
    sum(network(*samples(2)).values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("strides", "reductions"), [((1, 2, 2), (4, 8, 16)), ((1, 2), (4, 8))])
def test_anchors_fit_as_many_levels_as_the_backbone_has(strides, reductions):
    body = ResNet(BasicBlock, (1,) * len(strides), widths=(8, 16, 24)[: len(strides)], strides=strides)
    network = faster_rcnn(body, NUM_CLASSES, channels=8).eval()
    assert tuple(level.reduction for level in network.neck.levels) == (*reductions, 2 * reductions[-1])
    with torch.no_grad():
        assert set(network([torch.randn(3, 65, 40)])[0]) == {"boxes", "scores", "labels"}


def test_unknown_neck_names_the_choices():
    with pytest.raises(ValueError, match="unknown neck 'fnp'; choose fpn, pafpn, bifpn"):
        detector(neck="fnp")


def test_frozen_stages_stay(samples):
    network = detector(frozen_stages=2).train()
    images, targets = samples(2)
    sum(network(images, targets).values()).backward()
    without = {name.split(".")[1] for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {"conv1", "bn1", "layer1"}


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_a_batch_equals_its_single_images(class_agnostic):
    everything = DetectionSelection(score_threshold=0.0, per_image=30)
    network = detector(detections=everything, class_agnostic=class_agnostic).eval()
    for layer in (network.rpn.head.bbox_pred, network.roi_heads.box.predictor.cls_score):
        nn.init.normal_(layer.weight, std=0.2)
    assert_batch_equals_its_images(network)


def test_losses_do_not_see_the_padding_of_targets(samples):
    network = detector(norm="frozen").train()
    network.rpn.sampler = network.roi_heads.sampler = BalancedSampler(1_000_000, 0.5)  # chance has no part in it
    images, targets = samples(3)
    targets[0] = {
        "boxes": torch.tensor([[4.0, 4.0, 30.0, 30.0], [20.0, 10.0, 60.0, 50.0]]),
        "labels": torch.tensor([1, 2]),
        "crowd": torch.tensor([False, True]),
    }
    expected = network(images, pad_targets(targets))
    assert expected["loss_box_reg"] > 0
    for name, loss in network(images, pad_targets(targets, multiple=8)).items():
        torch.testing.assert_close(loss, expected[name])


@pytest.mark.parametrize("empty", [[0], [0, 1]])
def test_images_without_objects_train(empty, samples):
    network = detector().train()
    images, targets = samples(2)
    for i in empty:
        targets[i] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = network(images, targets)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_images_of_any_size_and_channels():
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(in_channels=1), widths=(8, 16, 24, 32))
    network = faster_rcnn(body, NUM_CLASSES, channels=8).eval()
    with torch.no_grad():
        found = network([torch.randn(1, 1, 1), torch.randn(1, 97, 33)])
    assert [set(detections) for detections in found] == [{"boxes", "scores", "labels"}] * 2


def test_fewer_targets_than_images_are_refused(samples):
    images, targets = samples(2)
    with pytest.raises(ValueError, match=r"\b1 target.*\b2 images|\b2 images.*\b1 target"):
        detector()(images, targets[:1])


def test_few_rois_train(samples):
    network = detector(rois_per_image=2).train()
    assert all(loss.isfinite() for loss in network(*samples(1)).values())


def test_a_name_builds_the_backbone():
    with torch.device("meta"):
        network = faster_rcnn("resnet18", 20, norm="frozen")
    assert network.backbone.levels[-1].channels == 512
    assert network.roi_heads.box.predictor.cls_score.out_features == 21
    assert network.roi_heads.box.predictor.bbox_pred.out_features == 84
