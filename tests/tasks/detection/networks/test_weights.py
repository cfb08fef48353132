import logging
import re

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.detection import (
    fasterrcnn_resnet50_fpn,
    fcos_resnet50_fpn,
    maskrcnn_resnet50_fpn,
    retinanet_resnet50_fpn,
)

from parity import numbered
from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import cascade_rcnn, faster_rcnn, fcos, load_weights, mask_rcnn, retinanet

THEIR_OLD_KEYS = (  # what torchvision's own loading still renames
    (r"^rpn\.head\.conv\.0\.0\.", "rpn.head.conv."),
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.0\.", r"\1."),
)


@pytest.fixture(scope="module")
def published():
    """Keys and shapes of torchvision's detector, and values that tell the keys apart."""
    with torch.device("meta"):
        theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    return numbered(theirs.state_dict())


def tiny(num_classes=2):
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(), widths=(8, 16, 24, 32))
    return faster_rcnn(body, num_classes, channels=8)


def old_style(state):
    renamed = {}
    for key, value in state.items():
        for pattern, replacement in THEIR_OLD_KEYS:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed


@pytest.mark.parametrize("old", [False, True])
def test_torchvisions_checkpoint_of_either_age(published, old):
    state = old_style(published) if old else published
    assert ("rpn.head.conv.weight" in state) == old
    assert ("backbone.fpn.inner_blocks.0.weight" in state) == old
    with torch.device("meta"):
        detector = faster_rcnn("resnet50", 90, norm="frozen")
    detector = detector.to_empty(device="cpu")
    load_weights(detector, state)
    for ours, theirs in [
        ("backbone.conv1.weight", "backbone.body.conv1.weight"),
        ("backbone.layer4.2.bn3.running_var", "backbone.body.layer4.2.bn3.running_var"),
        ("neck.inner_blocks.3.0.bias", "backbone.fpn.inner_blocks.3.0.bias"),
        ("neck.layer_blocks.0.0.weight", "backbone.fpn.layer_blocks.0.0.weight"),
        ("rpn.head.conv.0.0.weight", "rpn.head.conv.0.0.weight"),
        ("rpn.head.cls_logits.bias", "rpn.head.cls_logits.bias"),
        ("roi_heads.box.head.fc7.weight", "roi_heads.box_head.fc7.weight"),
        ("roi_heads.box.predictor.bbox_pred.bias", "roi_heads.box_predictor.bbox_pred.bias"),
    ]:
        assert torch.equal(detector.state_dict()[ours], published[theirs]), ours


@pytest.mark.parametrize("kind", ["state dict", "pth", "safetensors", "checkpoint"])
def test_our_own_weights_from_everywhere(tmp_path, kind):
    torch.manual_seed(0)
    first, second = tiny(), tiny()
    state = first.state_dict()
    source = state
    if kind == "pth":
        source = tmp_path / "a.pth"
        torch.save(state, source)
    elif kind == "safetensors":
        source = tmp_path / "a.safetensors"
        save_file(state, source)
    elif kind == "checkpoint":
        source = tmp_path / "a.ckpt"
        content = {"state_dict": {f"network.{key}": value for key, value in state.items()}, "class_names": ["a", "b"]}
        torch.save(content, source)
    load_weights(second, source)
    for key, value in second.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_all_or_nothing_and_every_fault_is_named():
    detector = tiny(num_classes=2)
    state = {key: torch.zeros_like(value) for key, value in tiny(num_classes=4).state_dict().items()}
    del state["neck.inner_blocks.0.0.bias"]
    state["neck.inner_blocks.1.0.bias"] = torch.zeros(5)
    state["mask.weight"] = torch.zeros(1)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    with pytest.raises(ValueError, match="Nothing was loaded") as error:
        load_weights(detector, state)
    message = str(error.value)
    assert "missing from the state dict: neck.inner_blocks.0.0.bias" in message
    assert "unexpected in the state dict: mask.weight" in message
    assert "neck.inner_blocks.1.0.bias is (5,) in the state dict but (8,) in the model" in message
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())


PEERS = {  # torchvision's function and ours, and which of our layers depend on the number of classes
    "faster_rcnn": (fasterrcnn_resnet50_fpn, faster_rcnn, ["cls_score", "bbox_pred"]),
    "mask_rcnn": (maskrcnn_resnet50_fpn, mask_rcnn, ["cls_score", "bbox_pred", "mask_fcn_logits"]),
    "retinanet": (retinanet_resnet50_fpn, retinanet, ["cls_logits"]),
    "fcos": (fcos_resnet50_fpn, fcos, ["cls_logits"]),
}


@pytest.mark.parametrize(
    ("name", "by"),
    [("faster_rcnn", "load_weights"), ("mask_rcnn", "argument"), ("retinanet", "load_weights"), ("fcos", "argument")],
)
def test_a_detector_of_other_classes_loads_all_but_the_layers_of_classes(name, by, tmp_path, caplog):
    their_build, build, layers = PEERS[name]
    torch.manual_seed(0)
    theirs = their_build(weights=None, weights_backbone=None, num_classes=91)
    if by == "load_weights":
        ours = build("resnet50", 1)
        first = {key: value.clone() for key, value in ours.state_dict().items()}
        with caplog.at_level(logging.WARNING):
            load_weights(ours, theirs.state_dict())
    else:
        save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
        with caplog.at_level(logging.INFO):
            ours = build("resnet50", 1, weights=tmp_path / "theirs.safetensors")
        first = {}
    loaded = ours.own_names(theirs.state_dict())
    new = [key for key, value in ours.state_dict().items() if key in loaded and not torch.equal(value, loaded[key])]
    assert {key.split(".")[-2] for key in new} == set(layers)
    assert all(torch.equal(ours.state_dict()[key], first.get(key, ours.state_dict()[key])) for key in new)
    (line,) = caplog.messages
    total = len(ours.state_dict())
    assert f": {total - 2 * len(layers)} of {total} tensors loaded; new: " in line
    assert all(layer in line for layer in layers)


BRANCHES = {  # a network that boxes are enough for, one with masks, and where its mask branches are
    "faster": (faster_rcnn, mask_rcnn, ["roi_heads.branches.mask"]),
    "cascade": (
        cascade_rcnn,
        lambda *args, **options: cascade_rcnn(*args, masks=True, **options),
        [f"roi_heads.stages.{i}.branches.mask" for i in range(3)],
    ),
}


@pytest.mark.parametrize("kind", BRANCHES)
def test_a_mask_branch_is_new_or_not_used(kind, tmp_path, caplog):
    boxes, masks, branches = BRANCHES[kind]
    torch.manual_seed(0)
    for source, build, expected in ((boxes, masks, f"{branches[0]}"), (masks, boxes, f"not used: {branches[0]}")):
        given = source("resnet20", 3, channels=8)
        torch.save(given.state_dict(), tmp_path / "given.pth")
        caplog.clear()
        with caplog.at_level(logging.INFO):
            made = build("resnet20", 1, channels=8, weights=str(tmp_path / "given.pth"))
        (line,) = caplog.messages
        assert expected in line
        assert all(branch in line for branch in branches)
        loaded = given.state_dict()
        same = {key for key, value in made.state_dict().items() if key in loaded and torch.equal(value, loaded[key])}
        others = [key for key in made.state_dict() if not key.startswith((*branches, *made.class_layers))]
        assert set(others) <= same


def test_a_mask_branch_of_other_layers_is_refused(tmp_path):
    state = mask_rcnn("resnet20", 3, channels=8).state_dict()
    del state["roi_heads.branches.mask.head.0.0.weight"]
    torch.save(state, tmp_path / "given.pth")
    with pytest.raises(ValueError, match=r"missing from .*given\.pth: roi_heads\.branches\.mask\.head\.0\.0\.weight"):
        mask_rcnn("resnet20", 3, channels=8, weights=str(tmp_path / "given.pth"))


def test_boxes_start_from_torchvisions_masks(tmp_path, caplog):
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    with caplog.at_level(logging.INFO):
        faster_rcnn("resnet50", 1, weights=str(tmp_path / "theirs.pth"))
    assert caplog.messages[0].endswith("roi_heads.box.predictor.bbox_pred; not used: roi_heads.branches.mask")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth: no such file"):
        load_weights(tiny(), tmp_path / "nowhere.pth")


def test_remedies_are_ones_that_exist(tmp_path):
    state = tiny().state_dict()
    state["backbone.conv1.weight"] = torch.zeros(8, 1, 7, 7)
    with pytest.raises(ValueError, match=r"backbone\.conv1\.weight is \(8, 1, 7, 7\)") as error:
        load_weights(tiny(), state)
    assert "adapt=True" not in str(error.value)  # a detector's loading has no such option
