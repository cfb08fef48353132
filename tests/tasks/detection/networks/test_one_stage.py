"""RetinaNet and FCOS alone; beside torchvision's they are in the parity tests."""

import pytest
import torch
from torch import nn

from detectors import assert_batch_equals_its_images, loss_history
from vertebra.backbones import BackboneOptions, ResNet, create_backbone
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import AnchorGenerator, DenseSelection, fcos, retinanet
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tasks.detection.parts.losses import GIoU
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput

NUM_CLASSES = 2


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


V2 = {"head_norm": "group", "extra": "conv", "box_loss": GIoU()}
ALL = pytest.mark.parametrize(
    ("build", "options"), [(retinanet, {}), (retinanet, V2), (fcos, {})], ids=["retinanet", "v2", "fcos"]
)


def detector(build=retinanet, norm="batch", **options):
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm=norm), widths=(8, 16, 24, 32))
    if build is retinanet and "anchors" not in options:
        options["anchors"] = AnchorGenerator([(side, 1.4 * side) for side in (16, 24, 32, 48, 64)])
    return build(body, NUM_CLASSES, **{"channels": 48} | options)


@ALL
def test_losses_fall(build, options, samples):
    network = detector(build, norm="group", **options).train()
    for module in (*network.head.cls_conv.modules(), *network.head.box_conv.modules()):
        if isinstance(module, nn.Conv2d):  # the start with deviations of 0.01 is for 256 channels
            nn.init.kaiming_normal_(module.weight)
    images, targets = samples(8)
    history = loss_history(network, images, targets, steps=20, lr=2e-3)
    assert set(history[0]) == {"loss_classifier", "loss_box_reg"} | ({"loss_centerness"} if build is fcos else set())
    for name in ("loss_classifier", "loss_box_reg"):
        assert history[-1][name] < 0.8 * history[0][name], name


@pytest.mark.parametrize("neck", ["fpn", "pafpn", "bifpn"])
@pytest.mark.parametrize("head_norm", [None, "batch", "group"])
@pytest.mark.parametrize("build", [retinanet, fcos])
def test_one_step_reaches_every_parameter(build, neck, head_norm, samples):
    network = detector(build, neck=neck, head_norm=head_norm).train()
    network.head.bbox_reg.bias.data.fill_(0.5)  # FCOS has no gradient where all distances are 0
    sum(network(*samples(2)).values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("build", [retinanet, fcos])
def test_the_pyramid_begins_at_the_third_level_from_the_end(build):
    network = detector(build)
    assert [level.reduction for level in network.neck.levels] == [8, 16, 32, 64, 128]
    three = create_backbone("resnet18", out_levels=("C3", "C4", "C5"))
    assert [level.name for level in build(three, 2, channels=8).neck.levels] == ["P3", "P4", "P5", "P6", "P7"]


@ALL
def test_every_class_starts_at_the_prior(build, options):
    network = detector(build, **options).train()
    logits, *_ = network.head([torch.zeros(1, 48, 4, 4)])
    torch.testing.assert_close(logits[0].sigmoid(), torch.full_like(logits[0], 0.01))


@ALL
def test_a_batch_equals_its_single_images(build, options):
    network = detector(build, detections=DenseSelection(score_threshold=0.0, per_image=30), **options).eval()
    network.head.bbox_reg.bias.data.fill_(0.5)
    for layer in (network.head.cls_logits, network.head.bbox_reg):
        nn.init.normal_(layer.weight, std=0.2)
    assert_batch_equals_its_images(network)


def samples_with_and_without_objects(samples):
    images, targets = samples(3)
    targets[0] = {
        "boxes": torch.tensor([[4.0, 4.0, 30.0, 30.0], [20.0, 10.0, 60.0, 50.0]]),
        "labels": torch.tensor([1, 2]),
        "crowd": torch.tensor([False, True]),
    }
    targets[1] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    return images, targets


@ALL
def test_losses_do_not_see_the_padding_of_targets(build, options, samples):
    network = detector(build, norm="frozen", **options).train()
    images, targets = samples_with_and_without_objects(samples)
    expected = network(images, targets)
    for name, loss in network(images, pad_targets(targets, multiple=8)).items():
        torch.testing.assert_close(loss, expected[name])
        assert loss > 0
    nothing = network(images[1:2], targets[1:2])
    assert {name: loss.item() for name, loss in nothing.items() if name != "loss_classifier"} == {
        name: 0 for name in expected if name != "loss_classifier"
    }
    sum(nothing.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("box_loss", [None, GIoU()])
def test_losses_of_retinanet_are_the_mean_over_the_images(box_loss, samples):
    network = detector(norm="frozen", box_loss=box_loss).train()
    images, targets = samples_with_and_without_objects(samples)
    single = [network([image], [target]) for image, target in zip(images, targets, strict=True)]
    for name, loss in network(images, targets).items():
        torch.testing.assert_close(torch.stack([losses[name] for losses in single]).mean(), loss)


@ALL
def test_a_crowd_over_everything_leaves_nothing_to_learn(build, options, samples):
    network = detector(build, **options).train()
    crowd = {
        "boxes": torch.tensor([[-999.0, -999.0, 999.0, 999.0]]),
        "labels": torch.tensor([1]),
        "crowd": torch.tensor([True]),
    }
    losses = network(samples(1)[0], [crowd])
    assert [loss.item() for loss in losses.values()] == [0] * len(losses)
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (retinanet, "cls_logits"),
        (retinanet, "bbox_reg"),
        (fcos, "cls_logits"),
        (fcos, "bbox_reg"),
        (fcos, "centerness"),
    ],
)
def test_outputs_that_are_not_finite_are_refused(build, layer, samples):
    network = detector(build).eval()
    getattr(network.head, layer).bias.data[0] = float("inf")
    with pytest.raises(NonFiniteOutput, match="sample 0 of the batch, sample 1 of the batch"):
        network(samples(2)[0])


@pytest.mark.parametrize("build", [retinanet, fcos])
def test_another_number_of_classes_starts_from_a_checkpoint(build, tmp_path):
    first = build("resnet18", 4, channels=8)
    state = {f"network.{key}": value for key, value in first.state_dict().items()}
    torch.save({"state_dict": state, "class_names": list("abcd")}, tmp_path / "a.ckpt")
    second = build("resnet18", 2, channels=8, weights=tmp_path / "a.ckpt")
    loaded = second.state_dict()
    other = {key for key, value in first.state_dict().items() if not torch.equal(value, loaded[key])}
    assert other == {"head.cls_logits.weight", "head.cls_logits.bias"}
