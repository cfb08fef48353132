"""torchvision's detector is the oracle: same weights, same numbers."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN as TheirFasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from parity import assert_same_detections, assert_same_gradients, fix_statistics, randomize
from vertebra.tasks.detection import ProposalSelection, faster_rcnn, load_weights
from vertebra.tasks.detection.parts.sampling import BalancedSampler

NUM_CLASSES = 5
EVERYTHING = 1_000_000
NUM_PROPOSALS = 200


def build_theirs(name, **options):
    torch.manual_seed(0)
    body = resnet_fpn_backbone(backbone_name=name, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
    theirs = TheirFasterRCNN(body, NUM_CLASSES + 1, image_mean=[0.0] * 3, image_std=[1.0] * 3, **options)
    theirs.transform.resize = lambda image, target: (image, target)
    randomize(theirs, gain=1.0, bias=0.1, norms=(0.5, 1.5))
    return theirs


def spread_classes(theirs, images):
    """Center the logits over the proposals and stretch them: random weights alone see one class everywhere."""
    seen = []
    hook = theirs.roi_heads.box_predictor.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    with torch.no_grad():
        theirs(images)
    hook.remove()
    layer, stretch = theirs.roi_heads.box_predictor.cls_score, 1.5 / seen[0].std(dim=0)
    layer.bias.data = (layer.bias.data - seen[0].mean(dim=0)) * stretch
    layer.weight.data *= stretch[:, None]


# by default one of them with each block, as the networks differ in nothing else
@pytest.mark.parametrize("name", [pytest.param("resnet18", marks=pytest.mark.slow), "resnet50"])
def test_detections_equal_torchvisions(name, images_and_targets):
    images = images_and_targets[0][:2]
    theirs = build_theirs(name).eval()
    spread_classes(theirs, images)
    ours = faster_rcnn(name, NUM_CLASSES).eval()
    load_weights(ours, theirs.state_dict())
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    assert_same_detections(found, expected, least=20, boxes=1e-2, scores=1e-4)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_losses_and_gradients_equal_torchvisions(name, images_and_targets):
    # every box is sampled, so that chance has no part in it
    theirs = build_theirs(
        name,
        rpn_batch_size_per_image=EVERYTHING,
        box_batch_size_per_image=EVERYTHING,
        rpn_positive_fraction=0.5,
        box_positive_fraction=0.5,
        rpn_pre_nms_top_n_train=NUM_PROPOSALS,
        rpn_post_nms_top_n_train=NUM_PROPOSALS,
    )
    ours = faster_rcnn(name, NUM_CLASSES, proposals=ProposalSelection(NUM_PROPOSALS, NUM_PROPOSALS))
    load_weights(ours, theirs.state_dict())
    ours.rpn.sampler = BalancedSampler(EVERYTHING, 0.5)
    ours.roi_heads.sampler = BalancedSampler(EVERYTHING, 0.5)
    fix_statistics(ours, theirs)
    images, targets = (x[:2] for x in images_and_targets)
    expected, found = theirs(images, targets), ours(images, targets)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-4, rtol=1e-5, msg=lambda text, key=key: f"{key}: {text}")

    pairs = [
        (ours.backbone.conv1, theirs.backbone.body.conv1),
        (ours.neck.inner_blocks[0][0], theirs.backbone.fpn.inner_blocks[0][0]),
        (ours.rpn.head.cls_logits, theirs.rpn.head.cls_logits),
        (ours.roi_heads.box.head.fc6, theirs.roi_heads.box_head.fc6),
    ]
    assert_same_gradients(found, expected, pairs)
