"""torchvision's SSD is the oracle: same weights, same numbers."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssdlite import SSDLiteHead, _extra_block
from torchvision.models.vgg import VGG

from parity import assert_same_detections, assert_same_gradients, numbered, randomize
from vertebra.tasks.detection import PerClassSelection, load_weights, ssd300, ssdlite320
from vertebra.tasks.detection.parts.batch import ImageBatch

NUM_CLASSES = 5


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 300, 300, generator=generator)


TARGETS = [
    {
        # the last two are favorites of the same default box
        "boxes": torch.tensor(
            [
                [10.0, 12.0, 290.0, 270.0],
                [5.0, 60.0, 30.0, 150.0],
                [100.0, 40.0, 148.0, 90.0],
                [101.0, 20.0, 121.0, 40.0],
                [102.0, 22.0, 120.0, 39.0],
            ]
        ),
        "labels": torch.tensor([1, 5, 3, 2, 4]),
    },
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]


@pytest.fixture(scope="module")
def networks():
    """Theirs and ours with the same random weights."""
    torch.manual_seed(0)
    theirs = ssd300_vgg16(
        weights=None,
        weights_backbone=None,
        num_classes=NUM_CLASSES + 1,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        detections_per_img=10_000,
        score_thresh=0.1,
        topk_candidates=100,
    )
    randomize(theirs, bias=0.1)
    theirs.backbone.scale_weight.data.uniform_(0.5, 1.5).mul_(20)
    for layer in theirs.head.classification_head.module_list:
        layer.weight.data /= 10  # scores far apart, and none so near to 1 that they are the same in float32
        layer.bias.data.normal_(std=1.0)
    for layer in theirs.head.regression_head.module_list:
        layer.weight.data /= 10
    ours = ssd300("vgg16_atrous", NUM_CLASSES, detections=PerClassSelection(0.1, per_image=10_000, per_class=100))
    load_weights(ours, theirs.state_dict())
    return theirs, ours


def batch_of(images):
    return ImageBatch(images, torch.tensor([images.shape[2:]] * len(images)))


def test_logits_deltas_and_default_boxes_equal_torchvisions(networks, images):
    theirs, ours = (network.eval() for network in networks)
    with torch.no_grad():
        features = list(theirs.backbone(images[:1]).values())
        expected = theirs.head(features)
        maps = list(ours.neck(ours.backbone(images[:1])).values())
        logits, deltas = ours.head(maps)
    assert [tuple(x.shape[2:]) for x in maps] == [(x, x) for x in (38, 19, 10, 5, 3, 1)]
    torch.testing.assert_close(torch.cat(logits, dim=1), expected["cls_logits"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat(deltas, dim=1), expected["bbox_regression"], atol=1e-4, rtol=1e-4)
    assert torch.cat(logits, dim=1).std() > 0.5
    boxes = theirs.anchor_generator(ImageList(images, [(300, 300)]), features)[0]
    found = ours.anchors.candidates(maps, (300, 300))
    torch.testing.assert_close(found.boxes, boxes, atol=1e-4, rtol=0)
    assert found.levels == (5776, 2166, 600, 150, 36, 4)


def test_detections_equal_torchvisions(networks, images):
    theirs, ours = (network.eval() for network in networks)
    with torch.no_grad():
        expected, found = theirs(list(images[:1])), ours(batch_of(images[:1]))
    assert_same_detections(found, expected, least=100)


def test_losses_and_gradients_equal_torchvisions(networks, images):
    theirs, ours = (network.train() for network in networks)
    theirs.backbone.features.requires_grad_(False)  # finer than C3, which takes most of the time
    ours.backbone.features[:23].requires_grad_(False)
    expected, found = theirs(list(images), TARGETS), ours(batch_of(images), TARGETS)
    torch.testing.assert_close(found["loss_classifier"], expected["classification"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found["loss_box_reg"], expected["bbox_regression"], atol=1e-4, rtol=1e-4)
    assert found["loss_box_reg"] > 0.1
    pairs = [
        (ours.backbone.features[24], theirs.backbone.extra[0][1]),
        (ours.backbone.fc6, theirs.backbone.extra[0][7][1]),
        (ours.neck.extra[3][1][0], theirs.backbone.extra[4][2]),
        (ours.head.cls_logits[0], theirs.head.classification_head.module_list[0]),
        (ours.head.bbox_reg[5], theirs.head.regression_head.module_list[5]),
    ]
    assert_same_gradients(found, expected, pairs)
    torch.testing.assert_close(ours.backbone.norm.weight.grad, theirs.backbone.scale_weight.grad, atol=1e-5, rtol=1e-3)


def test_torchvisions_checkpoint_as_it_is():
    with torch.device("meta"):
        theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91)
        ours = ssd300("vgg16_atrous", 90)
    state = numbered(theirs.state_dict())
    ours = ours.to_empty(device="cpu")
    load_weights(ours, state)
    loaded = ours.state_dict()
    for key, their_key in [
        ("backbone.features.21.weight", "backbone.features.21.weight"),
        ("backbone.features.24.weight", "backbone.extra.0.1.weight"),
        ("backbone.features.28.bias", "backbone.extra.0.5.bias"),
        ("backbone.fc7.bias", "backbone.extra.0.7.3.bias"),
        ("neck.extra.2.1.0.bias", "backbone.extra.3.2.bias"),
        ("head.cls_logits.3.bias", "head.classification_head.module_list.3.bias"),
        ("head.bbox_reg.4.weight", "head.regression_head.module_list.4.weight"),
    ]:
        assert torch.equal(loaded[key], state[their_key]), key


def test_levels_and_heads_of_ssdlite_equal_torchvisions():
    torch.manual_seed(0)
    ours = ssdlite320("resnet18", NUM_CLASSES, head_norm="batch")
    randomize(ours, gain=1.0, bias=0.1, norms=(0.5, 1.5))
    levels = [level.channels for level in ours.neck.levels]
    assert levels == [256, 512, 512, 256, 256, 128]
    extra = nn.ModuleList(_extra_block(levels[i - 1], levels[i], nn.BatchNorm2d) for i in range(2, 6)).eval()
    extra.load_state_dict(ours.neck.extra.state_dict())
    theirs = SSDLiteHead(levels, [6] * 6, NUM_CLASSES + 1, nn.BatchNorm2d).eval()
    theirs.classification_head.module_list.load_state_dict(ours.head.cls_logits.state_dict())
    theirs.regression_head.module_list.load_state_dict(ours.head.bbox_reg.state_dict())
    with torch.no_grad():
        features = ours.backbone(torch.randn(2, 3, 320, 320))
        maps = [features["C4"], features["C5"]]
        for block in extra:
            maps.append(block(maps[-1]))
        expected = theirs(maps)
        found = list(ours.neck(features).values())
        logits, deltas = ours.head(found)
    torch.testing.assert_close(torch.cat(logits, dim=1), expected["cls_logits"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat(deltas, dim=1), expected["bbox_regression"], atol=1e-4, rtol=1e-4)
    # torchvision spreads the boxes of all levels evenly, we do by the reductions: the same as far as both are known
    boxes = DefaultBoxGenerator([[2, 3]] * 6, 0.2, 0.95, steps=[16, 32, 64, 128, 256, 512])
    wanted = boxes(ImageList(torch.zeros(1, 3, 320, 320), [(320, 320)]), maps)[0]
    torch.testing.assert_close(ours.anchors.candidates(found, (320, 320)).boxes, wanted, atol=1e-3, rtol=0)


def test_torchvisions_classifier_starts_the_backbone():
    with torch.device("meta"):
        theirs = VGG(nn.Sequential(), num_classes=10)  # the fully connected layers
    # sums of few random numbers, since there are 120 million weights
    state = {
        k: sum(torch.randn(n, *[1] * i) for i, n in enumerate(x.shape[::-1])) for k, x in theirs.state_dict().items()
    }
    body = ssd300("vgg16_atrous", 2).backbone
    own = {k: x for k, x in body.state_dict().items() if k.startswith("features")}
    renamed = body.own_names(state | own)
    assert renamed.keys() == body.state_dict().keys()
    assert all(renamed[k].shape == x.shape for k, x in body.state_dict().items())
    first, second = state["classifier.0.weight"].view(4096, 512, 7, 7), state["classifier.3.weight"]
    assert renamed["fc6.weight"][3, 5, 1, 2] == first[12, 5, 3, 6]
    assert renamed["fc7.weight"][3, 5, 0, 0] == second[12, 20]
    assert renamed["fc6.bias"][7] == state["classifier.0.bias"][28]
