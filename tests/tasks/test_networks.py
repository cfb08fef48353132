"""What the networks of all tasks have in common: one object by name, and no argument that is ignored."""

import importlib
import inspect

import pytest
import torch
from torch import nn

from vertebra.backbones import Backbone, create_backbone, resolve_backbone
from vertebra.tasks import classification, detection, medical, segmentation, video

NETWORKS = {
    "detection.CascadeRCNN": (detection.CascadeRCNN, 2),
    "detection.FasterRCNN": (detection.FasterRCNN, 2),
    "detection.FCOS": (detection.FCOS, 2),
    "detection.MaskRCNN": (detection.MaskRCNN, 2),
    "detection.RetinaNet": (detection.RetinaNet, 2),
    "detection.RTDETR": (detection.RTDETR, 2),
    "detection.SSD": (detection.SSD, 2),
    "detection.YOLOX": (detection.YOLOX, 2),
    "classification.ImageClassifier": (classification.ImageClassifier, 2),
    "medical.MedicalClassifier": (medical.MedicalClassifier, 2),
    "medical.SliceClassifier": (medical.SliceClassifier, 2),
    "medical.StudyClassifier": (medical.StudyClassifier, 2),
    "segmentation.DeepLabV3": (segmentation.DeepLabV3, 2),
    "segmentation.DeepLabV3Plus": (segmentation.DeepLabV3Plus, 2),
    "segmentation.FCN": (segmentation.FCN, 2),
    "segmentation.FCNScores": (segmentation.FCNScores, 2),
    "segmentation.PSPNet": (segmentation.PSPNet, 2),
    "segmentation.SemanticFPN": (segmentation.SemanticFPN, 2),
    "segmentation.UNet": (segmentation.UNet, 2),
    "segmentation.UPerNet": (segmentation.UPerNet, 2),
    "video.FrameClassifier": (video.FrameClassifier, 2),
    "video.VideoClassifier": (video.VideoClassifier, 3),
}
OPTIONS = {
    "in_channels": 3,
    "output_stride": 32,
    "norm": "batch",
    "drop_path_rate": 0.0,
    "weights": "pretrained",
}  # of a named backbone; the values are its defaults, since even those would not be used
# a norm is used by decoders as well, and by X3D's head
WITH_NORM = [f"segmentation.{name}" for name in segmentation.__all__ if f"segmentation.{name}" in NETWORKS]
WITH_NORM.remove("segmentation.FCNScores")


def options_of(build):
    """Names of the options of a named backbone that a network takes."""
    names = set(inspect.signature(build).parameters)
    if inspect.isclass(build) and issubclass(build, segmentation.Segmenter):
        names |= set(inspect.signature(segmentation.Segmenter).parameters)
    return names & set(inspect.signature(create_backbone).parameters)


def test_the_table_has_every_network():
    classes = {
        f"{task.__name__.rpartition('.')[2]}.{name}"
        for task in (classification, detection, medical, segmentation, video)
        for name, part in ((name, getattr(task, name)) for name in task.__all__)
        if inspect.isclass(part) and issubclass(part, nn.Module) and part.__name__ == name
        if "backbone" in inspect.signature(part).parameters
        and part not in (segmentation.Segmenter, detection.Detector)  # bases
    }
    assert classes == NETWORKS.keys()
    assert set().union(*(options_of(build) for build, _ in NETWORKS.values())) == OPTIONS.keys()


def built(dim):
    return create_backbone("resnet20" if dim == 2 else "resnet18s_3d")


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_options_beside_a_built_backbone_are_refused(name, option):
    build, dim = NETWORKS[name]
    if option not in options_of(build):
        with pytest.raises(TypeError, match=option):  # there is no such argument
            build("resnet20", 2, **{option: OPTIONS[option]})
        return
    if option == "norm" and name in WITH_NORM:
        norms = {type(part) for part in build(built(dim), 2, norm="group").decoder.modules()}
        assert nn.GroupNorm in norms
        return
    message = rf"{option}='?{OPTIONS[option]}'? would have no effect: the backbone is a \w+ that is built already"
    with pytest.raises(ValueError, match=message):
        build(built(dim), 2, **{option: OPTIONS[option]})


def test_the_norm_beside_a_built_x3d_is_its_heads():
    network = video.VideoClassifier(create_backbone("x3d_s"), 2, norm="group")
    assert isinstance(network.head.bn1, nn.GroupNorm)
    assert isinstance(network.backbone.bn1, nn.BatchNorm3d)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_beside_a_built_backbone_is_used(name, tmp_path):
    build, dim = NETWORKS[name]
    trained = build(built(dim), 2)
    torch.save(
        {"state_dict": {f"network.{key}": value for key, value in trained.state_dict().items()}},
        tmp_path / "best.ckpt",
    )
    started = build(built(dim), 2, weights=str(tmp_path / "best.ckpt")).state_dict()
    first = next(key for key in started if key.endswith("conv1.weight"))
    assert torch.equal(started[first], trained.state_dict()[first])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_one_object_under_its_two_names(name):
    build, _ = NETWORKS[name]
    task = importlib.import_module(f"vertebra.tasks.{name.partition('.')[0]}")
    lower = [other for other in task.__all__ if other.islower() and getattr(task, other) is build]
    assert len(lower) == 1
    assert {lower[0], build.__name__} <= set(task.__all__)
    assert build.__module__.startswith("vertebra.tasks.")


def test_weights_and_inflated_weights_exclude_each_other():
    for build in (video.VideoClassifier, medical.MedicalClassifier, medical.StudyClassifier):
        with pytest.raises(ValueError, match=r"weights is 'a\.pth' and inflate_from is 'b\.pth'.*leave the other out"):
            build("resnet18s_3d", 2, weights="a.pth", inflate_from="b.pth")


def test_dropout_without_a_layer_is_refused():
    with pytest.raises(ValueError, match=r"drop_rate=0\.5 would have no effect: a FCNScores without an auxiliary head"):
        segmentation.fcn_scores("resnet20", 2, drop_rate=0.5)
    assert segmentation.fcn_scores("resnet20", 2, drop_rate=0.5, aux=True).aux[1].dropout.p == 0.5


def test_a_built_backbone_is_returned_as_it_is():
    body = create_backbone("resnet20")
    assert resolve_backbone(body, norm=None, weights=None, defaults={"in_channels": 1}) is body
    named: Backbone = resolve_backbone("resnet20", in_channels=None, defaults={"in_channels": 1})
    assert named.conv1.in_channels == 1
    assert resolve_backbone("resnet20", in_channels=4, defaults={"in_channels": 1}).conv1.in_channels == 4
