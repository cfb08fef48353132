"""torchvision's FCOS is the oracle: same weights, same numbers."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import FCOS as TheirFCOS
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from parity import assert_same_detections, assert_same_gradients, fix_statistics, numbered, randomize
from vertebra.tasks.detection import DenseSelection, fcos, load_weights

NUM_CLASSES = 5


def build_theirs():
    """Build theirs on a ResNet-18, with a class for the background that is never seen, as in their trained weights."""
    torch.manual_seed(0)
    body = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    limits = {"topk_candidates": 100, "detections_per_img": 10_000, "score_thresh": 0.2}
    theirs = TheirFCOS(body, NUM_CLASSES + 1, image_mean=[0.0] * 3, image_std=[1.0] * 3, **limits)
    theirs.transform.resize = lambda image, target: (image, target)
    randomize(theirs, gain=1.0, bias=0.1, norms=(0.5, 1.5))
    layer = theirs.head.classification_head.cls_logits
    layer.weight.data *= 2.0  # scores far apart, and none so near to 1 that they are the same in float32
    layer.bias.data.normal_(-1.0, 1.0)
    layer.bias.data[0] = -1e4
    layer.weight.data[0] = 0
    theirs.head.regression_head.bbox_reg.bias.data.fill_(2.0)  # boxes of a few strides
    return theirs


@pytest.fixture(scope="module")
def networks():
    """Theirs and ours with the same random weights."""
    theirs = build_theirs()
    ours = fcos("resnet18", NUM_CLASSES, detections=DenseSelection(0.2, 0.6, per_image=10_000, per_level=100))
    load_weights(ours, theirs.state_dict())
    return theirs, ours


def test_outputs_of_the_head_equal_torchvisions(networks, images_and_targets):
    theirs, ours = (network.eval() for network in networks)
    images = torch.stack([image[:, :96, :96] for image in images_and_targets[0]])
    with torch.no_grad():
        expected = theirs.head(list(theirs.backbone(images).values()))
        found = ours.head(list(ours.neck(ours.backbone(images)).values()))
    logits, distances, centerness = (torch.cat(levels, dim=1) for levels in found)
    torch.testing.assert_close(logits, expected["cls_logits"][..., 1:], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(distances, expected["bbox_regression"], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(centerness, expected["bbox_ctrness"][..., 0], atol=1e-4, rtol=1e-5)
    assert logits.std() > 0.5
    assert (distances > 0).float().mean() > 0.9


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
    names = {
        "loss_classifier": "classification",
        "loss_box_reg": "bbox_regression",
        "loss_centerness": "bbox_ctrness",
    }
    assert found.keys() == names.keys()
    for name, their_name in names.items():
        assert found[name] > 0.1
        torch.testing.assert_close(found[name], expected[their_name], atol=1e-4, rtol=1e-5)

    pairs = [
        (ours.backbone.conv1, theirs.backbone.body.conv1),
        (ours.neck.extra_blocks.p6, theirs.backbone.fpn.extra_blocks.p6),
        (ours.head.cls_conv[0][0], theirs.head.classification_head.conv[0]),
        (ours.head.bbox_reg, theirs.head.regression_head.bbox_reg),
        (ours.head.centerness, theirs.head.regression_head.bbox_ctrness),
    ]
    assert_same_gradients(found, expected, pairs)


def test_torchvisions_checkpoint_as_it_is():
    with torch.device("meta"):
        theirs = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
        ours = fcos("resnet50", 90)
    state = numbered(theirs.state_dict())
    state["head.classification_head.cls_logits.bias"] = torch.arange(91.0)
    ours = ours.to_empty(device="cpu")
    load_weights(ours, state)
    loaded = ours.state_dict()
    for key, their_key in [
        ("neck.extra_blocks.p7.weight", "backbone.fpn.extra_blocks.p7.weight"),
        ("head.cls_conv.3.0.weight", "head.classification_head.conv.9.weight"),
        ("head.cls_conv.3.1.bias", "head.classification_head.conv.10.bias"),
        ("head.box_conv.1.0.bias", "head.regression_head.conv.3.bias"),
        ("head.bbox_reg.bias", "head.regression_head.bbox_reg.bias"),
        ("head.centerness.weight", "head.regression_head.bbox_ctrness.weight"),
    ]:
        assert torch.equal(loaded[key], state[their_key]), key
    assert loaded["head.cls_logits.bias"].tolist() == list(range(1, 91))
