"""torchvision's Mask R-CNN and the second versions of both two-stage detectors are the oracle."""

import re

import pytest
import torch
from torch import nn
from torchvision.models.detection import (
    FasterRCNN,
    MaskRCNN,
    fasterrcnn_resnet50_fpn_v2,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn_v2,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.resnet import resnet18
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from parity import assert_same_detections, assert_same_gradients, fix_statistics, numbered, randomize
from vertebra.tasks.detection import ProposalSelection, faster_rcnn, load_weights, mask_rcnn, paste_masks
from vertebra.tasks.detection.parts.sampling import BalancedSampler

NUM_CLASSES = 5
CHANNELS = 16
NUM_PROPOSALS = 100
EVERYTHING = 1_000_000
V2 = {"head_norm": "batch", "rpn_convs": 2}
PAIRS = pytest.mark.parametrize(
    ("build", "their_class", "v2"),
    [(faster_rcnn, FasterRCNN, True), (mask_rcnn, MaskRCNN, False), (mask_rcnn, MaskRCNN, True)],
    ids=["faster v2", "mask", "mask v2"],
)


def build_theirs(their_class, v2, **options):
    """Build theirs on a ResNet-18, narrower than torchvision's functions do but of the same parts."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d if v2 else None
    body = BackboneWithFPN(
        resnet18(weights=None),
        {f"layer{i + 1}": str(i) for i in range(4)},
        [64, 128, 256, 512],
        CHANNELS,
        extra_blocks=LastLevelMaxPool(),
        norm_layer=norm,
    )
    convs = [CHANNELS] * 4
    parts = {"box_predictor": FastRCNNPredictor(1024, NUM_CLASSES + 1)}
    if v2:
        parts["rpn_anchor_generator"] = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
        parts["rpn_head"] = RPNHead(CHANNELS, 3, conv_depth=2)
        parts["box_head"] = FastRCNNConvFCHead((CHANNELS, 7, 7), convs, [1024], norm_layer=norm)
    if their_class is MaskRCNN:
        parts["mask_head"] = MaskRCNNHeads(CHANNELS, convs, 1, norm_layer=norm)
        parts["mask_predictor"] = MaskRCNNPredictor(CHANNELS, CHANNELS, NUM_CLASSES + 1)
    few = {f"rpn_{when}_nms_top_n_{mode}": NUM_PROPOSALS for when in ("pre", "post") for mode in ("train", "test")}
    theirs = their_class(body, image_mean=[0.0] * 3, image_std=[1.0] * 3, **parts, **few, **options)
    theirs.transform.resize = lambda image, target: (image, target)
    randomize(theirs, gain=1.0, bias=0.1, norms=(0.5, 1.5))
    if their_class is MaskRCNN:
        layer = theirs.roi_heads.mask_predictor.conv5_mask
        nn.init.normal_(layer.weight, std=CHANNELS**-0.5)
        nn.init.normal_(layer.bias, std=0.3)
    return theirs


def build_ours(build, v2, theirs):
    few = ProposalSelection(*[NUM_PROPOSALS] * 4)
    ours = build("resnet18", NUM_CLASSES, channels=CHANNELS, proposals=few, **(V2 if v2 else {}))
    load_weights(ours, theirs.state_dict())
    return ours


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


@pytest.fixture
def images_and_masks(images_and_targets):
    """Add to each box an ellipse in it that is cut by a diagonal."""
    images, targets = images_and_targets
    for image, target in zip(images, targets, strict=True):
        y, x = torch.arange(image.shape[1])[:, None], torch.arange(image.shape[2])
        x1, y1, x2, y2 = target["boxes"].T[..., None, None]
        ellipse = ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 < 1
        target["masks"] = (ellipse & (x - x1 < 2 * (y2 - y))).to(torch.uint8)
    return images, targets


@PAIRS
def test_detections_and_their_pixels_equal_torchvisions(build, their_class, v2, images_and_targets):
    images, _ = images_and_targets
    theirs = build_theirs(their_class, v2).eval()
    spread_classes(theirs, images)
    ours = build_ours(build, v2, theirs).eval()
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    orders = assert_same_detections(found, expected, least=20, boxes=1e-2, scores=1e-4)
    if their_class is MaskRCNN:
        for image, of_image, wanted, order in zip(images, found, expected, orders, strict=True):
            pasted = paste_masks(of_image["mask_probs"][order], of_image["boxes"][order], *image.shape[1:])
            assert 0.2 < pasted.sum() / (wanted["masks"] > 0).sum() < 0.8
            different = pasted ^ (wanted["masks"][:, 0] > 0.5)
            assert different.sum() < 1e-4 * pasted.sum()  # boxes differ in the last digits


@pytest.mark.parametrize("v2", [False, True])
def test_mask_logits_equal_torchvisions(v2):
    theirs = build_theirs(MaskRCNN, v2).eval().roi_heads
    ours = mask_rcnn("resnet18", NUM_CLASSES, channels=CHANNELS, **(V2 if v2 else {})).eval().roi_heads.branches["mask"]
    for part in ("head", "predictor"):
        getattr(ours, part).load_state_dict(getattr(theirs, f"mask_{part}").state_dict())
    pooled = torch.randn(3, CHANNELS, 14, 14)
    with torch.no_grad():
        expected = theirs.mask_predictor(theirs.mask_head(pooled))
        maps = ours.head(pooled)
        found = [ours.predictor(maps, torch.full((3,), label)) for label in range(NUM_CLASSES + 1)]
    torch.testing.assert_close(torch.stack(found, dim=1), expected, atol=1e-4, rtol=1e-5)
    assert expected.std() > 0.1


@PAIRS
def test_losses_and_gradients_equal_torchvisions(build, their_class, v2, images_and_masks):
    # every box is sampled, so that chance has no part in it
    theirs = build_theirs(
        their_class,
        v2,
        rpn_batch_size_per_image=EVERYTHING,
        box_batch_size_per_image=EVERYTHING,
        rpn_positive_fraction=0.5,
        box_positive_fraction=0.5,
    )
    ours = build_ours(build, v2, theirs)
    ours.rpn.sampler = BalancedSampler(EVERYTHING, 0.5)
    ours.roi_heads.sampler = BalancedSampler(EVERYTHING, 0.5)
    fix_statistics(ours, theirs)
    images, targets = images_and_masks
    expected, found = theirs(images, targets), ours(images, targets)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-4, rtol=1e-5, msg=lambda text, key=key: f"{key}: {text}")

    pairs = [
        (ours.backbone.conv1, theirs.backbone.body.conv1),
        (ours.neck.inner_blocks[0][0], theirs.backbone.fpn.inner_blocks[0][0]),
        (ours.rpn.head.conv[0][0], theirs.rpn.head.conv[0][0]),
        (ours.roi_heads.box.predictor.cls_score, theirs.roi_heads.box_predictor.cls_score),
    ]
    if their_class is MaskRCNN:
        mask = ours.roi_heads.branches["mask"]
        pairs += [
            (mask.head[0][0], theirs.roi_heads.mask_head[0][0]),
            (mask.predictor.conv5_mask, theirs.roi_heads.mask_predictor.conv5_mask),
            (mask.predictor.mask_fcn_logits, theirs.roi_heads.mask_predictor.mask_fcn_logits),
        ]
    assert_same_gradients(found, expected, pairs)


def old_style(state):
    """Rename as in torchvision's first Mask R-CNN checkpoint."""
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"^rpn\.head\.conv\.0\.0\.", "rpn.head.conv.", key)
        key = re.sub(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.0\.", r"\1.", key)
        key = re.sub(r"mask_head\.(\d)\.0\.", lambda match: f"mask_head.mask_fcn{int(match[1]) + 1}.", key)
        renamed[key] = value
    return renamed


@pytest.mark.parametrize(
    ("their_build", "build", "options", "old"),
    [
        (maskrcnn_resnet50_fpn, mask_rcnn, {}, False),
        (maskrcnn_resnet50_fpn, mask_rcnn, {}, True),
        (maskrcnn_resnet50_fpn_v2, mask_rcnn, V2, False),  # which never had other names
        (fasterrcnn_resnet50_fpn_v2, faster_rcnn, V2, False),
    ],
)
def test_torchvisions_checkpoints_as_they_are(their_build, build, options, old):
    with torch.device("meta"):
        theirs = their_build(weights=None, weights_backbone=None, num_classes=91)
        ours = build("resnet50", 90, **options)
    state = numbered(theirs.state_dict())
    ours = ours.to_empty(device="cpu")
    load_weights(ours, old_style(state) if old else state)
    assert not old or "roi_heads.mask_head.mask_fcn4.weight" in old_style(state)
    loaded = ours.state_dict()
    keys = {"roi_heads.box.predictor.cls_score.weight": "roi_heads.box_predictor.cls_score.weight"}
    if build is mask_rcnn:
        keys |= {
            "roi_heads.branches.mask.head.3.0.weight": "roi_heads.mask_head.3.0.weight",
            "roi_heads.branches.mask.predictor.conv5_mask.bias": "roi_heads.mask_predictor.conv5_mask.bias",
            "roi_heads.branches.mask.predictor.mask_fcn_logits.bias": "roi_heads.mask_predictor.mask_fcn_logits.bias",
        }
    if options:
        keys |= {
            "rpn.head.conv.1.0.bias": "rpn.head.conv.1.0.bias",
            "roi_heads.box.head.5.weight": "roi_heads.box_head.5.weight",
            "neck.inner_blocks.0.1.running_mean": "backbone.fpn.inner_blocks.0.1.running_mean",
        }
    for key, their_key in keys.items():
        assert torch.equal(loaded[key], state[their_key]), key
