"""Initialization of a network from a checkpoint of `vertebra fit`."""

import logging

import pytest
import torch
from torch import nn

from vertebra.backbones import FPN, create_backbone, load_weights
from vertebra.backbones.pretrained import is_of_a_network
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.classification import image_classifier
from vertebra.tasks.detection import cascade_rcnn, faster_rcnn, fcos, retinanet
from vertebra.tasks.medical import medical_classifier, study_classifier
from vertebra.tasks.segmentation import fcn, fcn_scores, unet
from vertebra.tasks.video import frame_classifier, video_classifier

# task -> function of the number of classes and of weights, and the layers that depend on that number
TASKS = {
    "detection": (
        lambda classes, weights=None: faster_rcnn("resnet20", classes, channels=8, weights=weights),
        ["roi_heads.box.predictor.cls_score", "roi_heads.box.predictor.bbox_pred"],
    ),
    "segmentation": (
        lambda classes, weights=None: fcn("resnet20", classes, output_stride=32, aux=True, weights=weights),
        ["head.conv", "aux.1.conv"],
    ),
    "scores": (
        lambda classes, weights=None: fcn_scores("resnet20", classes, num_levels=2, weights=weights),
        ["decoder.scores.0", "decoder.scores.1"],
    ),
    "classification": (
        lambda classes, weights=None: image_classifier("resnet20", classes, weights=weights),
        ["head.fc"],
    ),
    "clips": (lambda classes, weights=None: video_classifier("resnet18s_3d", classes, weights=weights), ["head.fc"]),
    "frames": (
        lambda classes, weights=None: frame_classifier("resnet20", classes, hidden=4, weights=weights),
        ["head.fc"],
    ),
    "medical": (lambda classes, weights=None: medical_classifier("resnet20", classes, weights=weights), ["head.fc"]),
    "studies": (lambda classes, weights=None: study_classifier("resnet20", classes, weights=weights), ["head.fc"]),
}


def checkpoint(network: nn.Module, path, names=("cat", "dog")):
    """Write a network as a training checkpoint of a task module."""
    state = {f"network.{key}": value for key, value in network.state_dict().items()} | {"loss.weight": torch.ones(3)}
    torch.save({"state_dict": state, "class_names": list(names), "epoch": 1}, path)
    return str(path)


@pytest.mark.parametrize("task", TASKS)
def test_other_classes_load_all_but_the_last_layers(task, tmp_path, caplog):
    build, last = TASKS[task]
    trained = build(2)
    file = checkpoint(trained, tmp_path / "best.ckpt")
    with caplog.at_level(logging.INFO):
        started = build(5, file)
    state, kept = trained.state_dict(), 0
    for key, value in started.state_dict().items():
        if key.rpartition(".")[0] not in last:
            assert torch.equal(value, state[key]), key
            kept += 1
    line = f"{file} (classes cat, dog): {kept} of {len(state)} tensors loaded; new: {', '.join(last)}"
    assert caplog.messages == [line]


@pytest.mark.parametrize("task", TASKS)
def test_the_same_number_of_classes_is_loaded_whole(task, tmp_path, caplog):
    build, _ = TASKS[task]
    trained = build(2)
    with caplog.at_level(logging.INFO):
        started = build(2, checkpoint(trained, tmp_path / "best.ckpt"))
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in started.state_dict().items())
    assert caplog.messages[0].endswith("loaded; new: none")


def test_checkpoint_of_another_task_loads_its_backbone(tmp_path, caplog):
    trained = image_classifier("resnet20", 3)
    file = checkpoint(trained, tmp_path / "best.ckpt")
    with caplog.at_level(logging.INFO):
        detector = faster_rcnn("resnet20", 4, channels=8, weights=file)
        gray = medical_classifier("resnet20", 4, weights=file)
        clips = frame_classifier("resnet20", 4, hidden=4, weights=file)
        pixels = unet("resnet20", 4, weights=file)
    for network in (detector, pixels):
        assert torch.equal(network.backbone.layer2[0].conv1.weight, trained.backbone.layer2[0].conv1.weight)
    assert torch.equal(clips.backbone.body.conv1.weight, trained.backbone.conv1.weight)
    torch.testing.assert_close(gray.backbone.conv1.weight, trained.backbone.conv1.weight.sum(dim=1, keepdim=True))
    assert "new: neck, rpn, roi_heads;" in caplog.messages[0]
    assert caplog.messages[0].endswith("not used: head")
    assert "new: head.recurrent, head.fc" in caplog.messages[2]


def test_backbone_loads_from_any_checkpoint(tmp_path):
    trained = frame_classifier("resnet20", 3)
    file = checkpoint(trained, tmp_path / "best.ckpt")
    for name in ("resnet20", "tsn:resnet20"):
        body = create_backbone(name, weights=file)
        assert torch.equal(getattr(body, "body", body).conv1.weight, trained.backbone.body.conv1.weight)
    volumes = medical_classifier("resnet20", 2)
    load_weights(volumes.backbone, checkpoint(volumes, tmp_path / "other.ckpt"))


def test_other_differences_are_listed_and_nothing_is_loaded(tmp_path):
    file = checkpoint(unet("resnet20", 3), tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"best\.ckpt: backbone\..*Nothing was loaded.*NamedBackbone"):
        fcn("resnet18", 3, output_stride=32, weights=file)
    with pytest.raises(ValueError, match=r"backbone\.conv1\.weight is \(16, .*but \(64, "):
        unet("resnet18", 3, weights=file)
    network = faster_rcnn("resnet20", 2, channels=8)
    wider = checkpoint(faster_rcnn("resnet20", 2, channels=16), tmp_path / "wider.ckpt")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"neck\.inner_blocks\.0\.0\.weight is \(16, .*but \(8, "):
        warm_start(network, wider)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


DETECTORS = {"faster_rcnn": faster_rcnn, "retinanet": retinanet, "fcos": fcos, "cascade_rcnn": cascade_rcnn}


@pytest.mark.parametrize(
    ("trained", "started", "rest"),
    [
        ("faster_rcnn", "retinanet", "new: neck.extra_blocks.p6, neck.extra_blocks.p7, head; not used: rpn, roi_heads"),
        ("faster_rcnn", "cascade_rcnn", "new: roi_heads"),
        ("retinanet", "faster_rcnn", "new: rpn, roi_heads; not used: neck.extra_blocks.p6, neck.extra_blocks.p7, head"),
        ("retinanet", "fcos", "new: head.cls_conv.0.1, head.cls_conv.1.1, head.cls_conv.2.1, head.cls_conv.3.1, "),
    ],
)
def test_a_checkpoint_of_another_detector_loads_all_that_fits(trained, started, rest, tmp_path, caplog):
    theirs = DETECTORS[trained]("resnet20", 2, channels=8)
    with caplog.at_level(logging.INFO):
        ours = DETECTORS[started]("resnet20", 3, channels=8, weights=checkpoint(theirs, tmp_path / "best.ckpt"))
    for part in ("backbone.layer3.1.conv2.weight", "neck.inner_blocks.1.0.weight", "neck.layer_blocks.2.0.bias"):
        assert torch.equal(ours.get_parameter(part), theirs.get_parameter(part))
    assert rest in caplog.messages[0]


def test_levels_of_another_pyramid_are_counted_from_the_coarsest():
    levels = create_backbone("resnet18").levels
    with_c2, without_c2 = FPN(levels, channels=8), FPN(levels[1:], channels=8)
    renamed = without_c2.own_levels(with_c2.state_dict())
    assert {key: value.shape for key, value in renamed.items()} == {
        key: value.shape for key, value in without_c2.state_dict().items()
    }
    assert torch.equal(renamed["layer_blocks.0.0.weight"], with_c2.layer_blocks[1][0].weight)
    assert torch.equal(
        with_c2.own_levels(without_c2.state_dict())["layer_blocks.3.0.bias"], without_c2.layer_blocks[2][0].bias
    )
    of_one_width = FPN([level._replace(channels=8) for level in levels], channels=8)
    assert of_one_width.own_levels(of_one_width.state_dict()).keys() == of_one_width.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FasterRCNN_ResNet50_FPN_Weights.COCO_V1", True),
        ("DeepLabV3_ResNet50_Weights.DEFAULT", True),
        ("ResNet50_Weights.IMAGENET1K_V2", False),
        ("R2Plus1D_18_Weights.KINETICS400_V1", False),
        ("FasterRCNN_ResNet5_Weights.COCO_V1", False),
        ("pretrained", False),
        ("resnet50.a1_in1k", False),
    ],
)
def test_names_of_the_weights_of_whole_networks(name, expected):
    assert is_of_a_network(name) is expected


def test_published_weights_of_a_whole_network_are_loaded_but_for_its_classes(monkeypatch, caplog):
    trained = faster_rcnn("resnet20", 90, channels=8)
    states = {"FasterRCNN_ResNet50_FPN_Weights.COCO_V1": trained.state_dict()}
    monkeypatch.setattr("vertebra.backbones.warm_start.published_state_dict", states.__getitem__)
    with caplog.at_level(logging.INFO):
        started = faster_rcnn("resnet20", 2, channels=8, weights="FasterRCNN_ResNet50_FPN_Weights.COCO_V1")
    assert torch.equal(started.neck.state_dict()["inner_blocks.0.0.weight"], trained.neck.inner_blocks[0][0].weight)
    assert torch.equal(started.rpn.head.bbox_pred.weight, trained.rpn.head.bbox_pred.weight)
    assert caplog.messages[0].endswith("new: roi_heads.box.predictor.cls_score, roi_heads.box.predictor.bbox_pred")


def test_published_weights_are_loaded_whole_or_not_at_all(tmp_path):
    state = image_classifier("resnet20", 2).backbone.state_dict()
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "published.pth")
    with pytest.raises(ValueError, match=r"missing from .*layer1\.0\.conv1\.weight"):
        image_classifier("resnet20", 2, weights=str(tmp_path / "published.pth"))
