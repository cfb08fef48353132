"""torchvision's RetinaNet is the oracle: same weights, same numbers."""

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.detection import RetinaNet as TheirRetinaNet
from torchvision.models.detection import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from parity import assert_same_detections, assert_same_gradients, fix_statistics, numbered, randomize
from vertebra.tasks.detection import DenseSelection, load_weights, retinanet
from vertebra.tasks.detection.parts.losses import GIoU

NUM_CLASSES = 5
V2 = {"head_norm": "group", "extra": "conv", "box_loss": GIoU()}
ANCHORS = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512))


def build_theirs(v2):
    """Build theirs on a ResNet-18, with a class for the background that is never seen, as in their trained weights."""
    torch.manual_seed(0)
    body = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(512 if v2 else 256, 256),
    )
    norm = partial(nn.GroupNorm, 32) if v2 else None
    head = RetinaNetHead(256, 9, NUM_CLASSES + 1, norm_layer=norm)
    head.regression_head._loss_type = "giou" if v2 else "l1"
    anchors = AnchorGenerator(ANCHORS, ((0.5, 1.0, 2.0),) * 5)
    theirs = TheirRetinaNet(
        body,
        NUM_CLASSES + 1,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        head=head,
        anchor_generator=anchors,
        topk_candidates=100,
        detections_per_img=10_000,
        score_thresh=0.1,
    )
    theirs.transform.resize = lambda image, target: (image, target)
    randomize(theirs, gain=1.0, bias=0.1, norms=(0.5, 1.5))
    layer = theirs.head.classification_head.cls_logits
    layer.weight.data *= 2.0  # scores far apart, and none so near to 1 that they are the same in float32
    bias = layer.bias.data.view(9, NUM_CLASSES + 1).normal_(-2.0, 1.0)
    bias[:, 0] = -1e4
    layer.weight.data.view(9, NUM_CLASSES + 1, -1)[:, 0] = 0
    return theirs


@pytest.fixture(scope="module", params=[False, True], ids=["v1", "v2"])
def networks(request):
    """Theirs and ours with the same random weights."""
    theirs = build_theirs(request.param)
    selection = DenseSelection(0.1, per_image=10_000, per_level=100)
    ours = retinanet("resnet18", NUM_CLASSES, detections=selection, **(V2 if request.param else {}))
    load_weights(ours, theirs.state_dict())
    return theirs, ours


def test_logits_and_deltas_equal_torchvisions(networks, images_and_targets):
    theirs, ours = (network.eval() for network in networks)
    images = torch.stack([image[:, :96, :96] for image in images_and_targets[0]])
    with torch.no_grad():
        expected = theirs.head(list(theirs.backbone(images).values()))
        logits, deltas = ours.head(list(ours.neck(ours.backbone(images)).values()))
    torch.testing.assert_close(torch.cat(logits, dim=1), expected["cls_logits"][..., 1:], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(torch.cat(deltas, dim=1), expected["bbox_regression"], atol=1e-4, rtol=1e-5)
    assert torch.cat(logits, dim=1).std() > 0.5


def test_detections_equal_torchvisions(networks, images_and_targets):
    images, _ = images_and_targets
    theirs, ours = (network.eval() for network in networks)
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    assert_same_detections(found, expected, least=30)


def test_losses_and_gradients_equal_torchvisions(networks, images_and_targets):
    theirs, ours = networks
    fix_statistics(ours, theirs)
    images, targets = images_and_targets
    expected, found = theirs(images, targets), ours(images, targets)
    torch.testing.assert_close(found["loss_classifier"], expected["classification"], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found["loss_box_reg"], expected["bbox_regression"], atol=1e-4, rtol=1e-5)
    assert found["loss_box_reg"] > 0.1

    pairs = [
        (ours.backbone.conv1, theirs.backbone.body.conv1),
        (ours.neck.extra_blocks.p6, theirs.backbone.fpn.extra_blocks.p6),
        (ours.head.cls_conv[0][0], theirs.head.classification_head.conv[0][0]),
        (ours.head.bbox_reg, theirs.head.regression_head.bbox_reg),
    ]
    assert_same_gradients(found, expected, pairs)


def old_style(state):
    """Rename as in torchvision's first RetinaNet checkpoint: layers of a flat sequence, and no norms."""
    renamed = {}
    for key, value in state.items():
        for i in range(4):
            key = key.replace(f"_head.conv.{i}.0.", f"_head.conv.{2 * i}.")
        renamed[key] = value
    return renamed


@pytest.mark.parametrize(
    ("build", "options", "old"),
    [
        (retinanet_resnet50_fpn, {}, False),
        (retinanet_resnet50_fpn, {}, True),
        (retinanet_resnet50_fpn_v2, V2, False),  # which never had other names
    ],
)
def test_torchvisions_checkpoints_as_they_are(build, options, old):
    with torch.device("meta"):
        theirs = build(weights=None, weights_backbone=None, num_classes=91)
        ours = retinanet("resnet50", 90, **options)
    state = numbered(theirs.state_dict())
    channels = torch.arange(9 * 91.0)
    state["head.classification_head.cls_logits.bias"] = channels
    ours = ours.to_empty(device="cpu")
    load_weights(ours, old_style(state) if old else state)
    loaded = ours.state_dict()
    for key, their_key in [
        ("neck.extra_blocks.p7.weight", "backbone.fpn.extra_blocks.p7.weight"),
        ("head.cls_conv.3.0.weight", "head.classification_head.conv.3.0.weight"),
        ("head.box_conv.1.0.weight", "head.regression_head.conv.1.0.weight"),
        ("head.bbox_reg.bias", "head.regression_head.bbox_reg.bias"),
        *([("head.box_conv.2.1.weight", "head.regression_head.conv.2.1.weight")] if options else []),
    ]:
        assert torch.equal(loaded[key], state[their_key]), key
    assert loaded["head.cls_logits.bias"].tolist() == [x for x in channels.tolist() if x % 91 != 0]
