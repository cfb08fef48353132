import pytest
import torch
from torch import nn

from parity import randomize
from vertebra.backbones import BackboneOptions, ResNet, inflate, load_weights
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.layers import conv, norm_layer
from vertebra.backbones.stems import Stem

WIDTHS = (8, 16)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def flat_stem(kernel):
    """A stem with a spatial 3x3 kernel that reduces height and width only."""

    def stem(dim, in_channels, norm):
        size, stride = (kernel, (1, 2, 2)) if dim == 3 else (kernel[1:], 2)
        conv1 = conv(dim, in_channels, 8, size, stride=stride)
        return Stem(conv1, norm_layer(dim, 8, norm), nn.ReLU(), nn.Identity(), 8, (1, 2, 2)[-dim:])

    return stem


def networks(block=BasicBlock, kernel=(3, 3, 3)):
    flat = ResNet(block, (1, 1), widths=WIDTHS, strides=(1, 2), stem=flat_stem(kernel))
    deep = ResNet(block, (1, 1), dim=3, widths=WIDTHS, strides=(1, (1, 2, 2)), stem=flat_stem(kernel))
    return randomize(flat), randomize(deep)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("how", ["mean", "center"])
def test_repeated_frame_equals_the_2d_network(how, block):
    flat, deep = networks(block)
    load_weights(deep, inflate(flat.state_dict(), deep, how))
    image = torch.randn(2, 3, 33, 21)
    with torch.no_grad():
        expected, clip = flat(image), deep(image[:, :, None].expand(-1, -1, 13, -1, -1))
    for name, x in expected.items():
        inner = clip[name] if how == "center" else clip[name][:, :, 5:8]  # five 3x3x3 kernels reach 5 frames far
        assert inner.shape[2] == (13 if how == "center" else 3)
        torch.testing.assert_close(inner, x[:, :, None].expand_as(inner), rtol=1e-5, atol=1e-5)
    if how == "mean":
        assert not torch.allclose(clip["C3"][:, :, 0], expected["C3"], atol=1e-2)


def test_repeated_frame_with_temporal_strides_equals_the_2d_network():
    flat, deep = (ResNet(BasicBlock, (1, 1), dim=dim, widths=WIDTHS, strides=(1, 2)) for dim in (2, 3))
    load_weights(randomize(deep), inflate(randomize(flat).state_dict(), deep))
    image = torch.randn(1, 3, 33, 33)
    with torch.no_grad():
        expected, clip = flat(image), deep(image[:, :, None].expand(-1, -1, 73, -1, -1))
    for name, x in expected.items():
        middle = clip[name].shape[2] // 2
        torch.testing.assert_close(clip[name][:, :, middle], x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["mean", "center"])
@pytest.mark.parametrize("kernel", [(1, 3, 3), (5, 1, 1)])
def test_kernels_of_any_shape(how, kernel):
    flat, deep = networks(kernel=kernel)
    state = inflate(flat.state_dict(), deep, how)
    load_weights(deep, state)
    weight = deep.conv1.weight
    assert weight.shape[2:] == kernel
    torch.testing.assert_close(weight.sum(dim=2), flat.conv1.weight)
    if how == "mean":
        assert torch.equal(weight[:, :, 0], weight[:, :, -1])
    else:
        assert torch.equal(weight[:, :, kernel[0] // 2], flat.conv1.weight)


def test_publishers_names_and_classifier_keys_are_kept():
    flat, deep = networks()
    state = {f"module.{key}": value for key, value in flat.state_dict().items()} | {
        "module.fc.weight": torch.ones(2, 2)
    }
    before = {key: value.clone() for key, value in deep.state_dict().items()}
    inflated = inflate(state, deep)
    assert all(torch.equal(value, before[key]) for key, value in deep.state_dict().items())
    load_weights(deep, inflated)
    torch.testing.assert_close(deep.layer1[0].conv1.weight.sum(dim=2), flat.layer1[0].conv1.weight)


def test_another_number_of_channels_is_reported():
    flat, _ = networks()
    deep = ResNet(BasicBlock, (1, 1), BackboneOptions(in_channels=2), dim=3, widths=WIDTHS, strides=(1, 2))
    with pytest.raises(ValueError, match=r"conv1\.weight is \(8, 3, 7, 3, 3\) in the state dict"):
        load_weights(deep, inflate(flat.state_dict(), deep))
    with pytest.raises(ValueError, match="how is 'middle'; choose mean or center"):
        inflate(flat.state_dict(), deep, "middle")
