"""Spelled ResNets: names and architectures correspond one to one, and known networks are among them."""

import pytest
import torch

from vertebra.backbones import create_backbone
from vertebra.backbones.attention import SqueezeExcite
from vertebra.backbones.resnet_spelled import ResNetDesign


@pytest.mark.parametrize(
    ("spelled", "known"),
    [
        ("resnet:small-basic-d3.3.3-w16.32.64", "resnet20_b"),
        ("resnet:plain-basic-d2.2.2.2-w64.128.256.512", "resnet18"),
        ("resnet:plain-bottleneck-d3.4.6.3-w64.128.256.512", "resnet50"),
        ("resnet:deep-bottleneck-d3.4.6.3-w64.128.256.512", "resnet50c"),
        ("resnet:plain-basic-d2.2.2.2-w64.128.256.512-se", "seresnet18"),
    ],
)
def test_known_networks_are_spelled(spelled, known):
    with torch.device("meta"):
        ours, theirs = create_backbone(spelled), create_backbone(known)
    assert ours.levels == theirs.levels
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_weights_of_a_known_network_give_its_features():
    ours, theirs = create_backbone("resnet:small-basic-d3.3.3-w16.32.64").eval(), create_backbone("resnet20_b").eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 17, 19)
    for name, features in ours(images).items():
        torch.testing.assert_close(features, theirs(images)[name])


@pytest.mark.parametrize("stem", ["small", "plain", "deep"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize(("kernel", "squeeze"), [(3, False), (5, True), (7, False)])
def test_a_name_rebuilds_the_architecture(stem, block, kernel, squeeze):
    design = ResNetDesign(stem, block, (1, 2), (6, 8), kernel, squeeze)
    assert ResNetDesign.parse(design.name.removeprefix("resnet:")) == design
    body = create_backbone(design.name, in_channels=1)
    kernels = {key for key in body.state_dict() if key.endswith(".conv2.weight")}
    assert {body.state_dict()[key].shape[-1] for key in kernels} == {kernel}
    assert any(isinstance(module, SqueezeExcite) for module in body.modules()) is squeeze
    features = body(torch.randn(2, 1, 33, 21))
    for level in body.levels:
        size = (-(-33 // level.reduction), -(-21 // level.reduction))
        assert features[level.name].shape == (2, level.channels, *size)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet:small", "'resnet:small' does not spell a network; expected resnet:STEM-BLOCK-dDEPTHS-wWIDTHS"),
        ("resnet:small-basic-d1.1-w8.8-se-k5", "does not spell a network"),
        ("resnet:tiny-basic-d1-w8", "resnet:tiny-basic-d1-w8': stem is 'tiny'; choose from small, plain, deep"),
        ("resnet:small-plain-d1-w8", "block is 'plain'; choose from basic, bottleneck"),
        ("resnet:small-basic-d1-w8-k4", "kernel is 4; choose from 3, 5, 7"),
        ("resnet:small-basic-d1.1-w8", "2 depths and 1 widths"),
        ("resnet:small-basic-d1.0-w8.8", "every number must be 1 or more"),
    ],
)
def test_names_that_spell_no_network_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        create_backbone(name)


def test_options_of_every_backbone_apply():
    body = create_backbone(
        "resnet:deep-basic-d1.1.1.2-w8.8.8.8-k5", output_stride=8, norm="group", drop_path_rate=0.5, out_levels=("C5",)
    )
    assert body.levels[0].reduction == 8
    assert body(torch.randn(2, 3, 33, 33))["C5"].shape == (2, 8, 5, 5)
