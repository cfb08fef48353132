"""YOLOX alone; beside its peer it is in the parity tests, among the other detectors in test_every_detector.py."""

import pytest
import torch

from detectors import loss_history
from vertebra.backbones import BackboneOptions, ResNet, create_backbone
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import yolox


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def detector(**options):
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm="group"), widths=(8, 16, 24, 32))
    return yolox(body, 2, **{"size": "tiny", "head_norm": "group"} | options)


def test_losses_fall(samples):
    network = detector().train()
    network.l1 = True
    images, targets = samples(8)
    history = loss_history(network, images, targets, steps=20, lr=2e-3)
    assert set(history[0]) == {"loss_classifier", "loss_objectness", "loss_box_iou", "loss_box_l1"}
    assert "loss_box_l1" not in detector()(images, targets)
    for name in ("loss_objectness", "loss_box_iou", "loss_box_l1"):  # that of classes rises with the overlaps
        assert history[-1][name] < 0.7 * history[0][name], name


def test_every_class_starts_at_the_prior():
    network = detector().eval()
    for level in (*network.head.cls_preds, *network.head.obj_preds):
        found = level(torch.zeros(1, 96, 4, 4)).sigmoid()
        torch.testing.assert_close(found, torch.full_like(found, 0.01))


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "densenet121", "timm:convnext_atto", "cspdarknet_tiny"])
def test_levels_of_any_backbone(name):
    with torch.device("meta"):
        body = create_backbone(name)
        network = yolox(body, 2, size="tiny").eval()
        maps = network.neck(network.backbone(torch.zeros(1, 3, 64, 96)))
    assert [x.shape[1:] for x in maps.values()] == [
        (width, 64 // level.reduction, 96 // level.reduction)
        for width, level in zip((96, 192, 384), body.levels[-3:], strict=True)
    ]
    assert [level.channels for level in network.neck.levels] == [96, 192, 384]


@pytest.mark.parametrize(
    ("backbone", "out_levels", "options", "message"),
    [
        ("resnet18", None, {"size": "n"}, "size is 'n'; choose tiny, s, m, l, x"),
        ("r3d_18", None, {}, "YOLOX is for images: take a 2-D backbone"),
        ("resnet18", ("C4", "C5"), {}, "the backbone has 2 levels, C4, C5; YOLOX needs 3"),
    ],
)
def test_what_cannot_be_built_is_refused(backbone, out_levels, options, message):
    with torch.device("meta"):
        body = create_backbone(backbone, out_levels=out_levels)
    with pytest.raises(ValueError, match=message):
        yolox(body, 2, **options)


@pytest.mark.parametrize("option", [{"zero_init": True}, {"output_stride": 16}, {"checkpointing": True}])
def test_options_that_cspdarknet_does_not_have_are_refused(option):
    with pytest.raises(ValueError, match="but CSPDarknet has no such option; leave it out"), torch.device("meta"):
        create_backbone("cspdarknet_s", **option)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_norms_of_cspdarknet(norm):
    body = create_backbone("cspdarknet_tiny", norm=norm, frozen_stages=2)
    norms = {type(module) for name, module in body.named_modules() if name.endswith(".bn")}
    assert len(norms) == 1
    if norm != "group":
        assert body.dark3[0].bn.eps == 1e-3
    trained = {name.partition(".")[0] for name, weight in body.named_parameters() if weight.requires_grad}
    assert trained == {"dark3", "dark4", "dark5"}
