import pytest
import torch
from torch import nn

from vertebra.backbones.convolutions import (
    depthwise,
    matching_channels,
    spatial_conv,
    spatial_then_temporal,
    temporal_conv,
    temporal_then_spatial,
)
from vertebra.backbones.cpu_convolutions import Conv3d
from vertebra.backbones.layers import FrozenBatchNorm, conv

ALL = [spatial_conv, temporal_conv, depthwise, spatial_then_temporal, temporal_then_spatial]
FACTORED = [spatial_then_temporal, temporal_then_spatial]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def clip(channels=4):
    return torch.randn(2, channels, 5, 9, 7)


def reach(convolution, axis):
    """Distance, along an axis, between the input pixels in the receptive field of an output pixel."""
    x = torch.randn(1, 4, 15, 15, 15, requires_grad=True)
    convolution.eval()(x)[0, :, 7, 7, 7].sum().backward()
    others = tuple(a for a in range(5) if a != axis)
    seen = x.grad.abs().sum(dim=others).nonzero()
    return int(seen.max() - seen.min()) + 1


@pytest.mark.parametrize("build", ALL)
@pytest.mark.parametrize("stride", [1, 2, (1, 2, 2), (2, 1, 1)])
@pytest.mark.parametrize("dilation", [1, (1, 2, 2)])
def test_output_sizes_equal_the_3d_convolution(build, stride, dilation):
    whole = conv(3, 4, 8, 3, stride=stride, dilation=dilation)
    assert build(3, 4, 8, 3, stride=stride, dilation=dilation)(clip()).shape == whole(clip()).shape


@pytest.mark.parametrize(
    ("build", "kernel_size", "expected"),
    [
        (spatial_conv, 3, (1, 3, 3)),
        (temporal_conv, 1, (3, 1, 1)),
        (depthwise, 3, (3, 3, 3)),
        (spatial_then_temporal, 3, (3, 3, 3)),
        (temporal_then_spatial, (5, 3, 3), (5, 3, 3)),
    ],
)
def test_receptive_field(build, kernel_size, expected):
    assert tuple(reach(build(3, 4, 8, kernel_size), axis) for axis in (2, 3, 4)) == expected


@pytest.mark.parametrize("build", FACTORED)
def test_dilation_applies_to_both_parts(build):
    assert tuple(reach(build(3, 4, 8, 3, dilation=(2, 3, 1)), axis) for axis in (2, 3, 4)) == (5, 7, 3)


def test_frame_wise_is_the_convolution_of_images():
    deep, flat = spatial_conv(3, 4, 8, 3, stride=(1, 2, 2)), conv(2, 4, 8, 3, stride=2)
    flat.weight.data = deep.weight.data[:, :, 0]
    frames = clip()
    for t, x in enumerate(deep(frames).unbind(2)):
        torch.testing.assert_close(x, flat(frames[:, :, t]))


def test_depthwise_channels_do_not_mix():
    convolution = depthwise(3, 4, 4, 3)
    frames = clip()
    changed = frames.clone()
    changed[:, 2] += 1
    differs = (convolution(frames) != convolution(changed)).flatten(2).any(dim=2)
    assert differs.tolist() == [[False, False, True, False]] * 2


@pytest.mark.parametrize(("in_channels", "out_channels", "middle"), [(64, 64, 144), (64, 128, 230), (128, 128, 288)])
def test_middle_channels_match_the_number_of_weights(in_channels, out_channels, middle):
    assert matching_channels(in_channels, out_channels) == middle  # 144 is the paper's number for the first stage
    factored = spatial_then_temporal(3, in_channels, out_channels, 3)
    weights = sum(m.weight.numel() for m in factored if isinstance(m, nn.Conv3d))
    assert weights == pytest.approx(27 * in_channels * out_channels, rel=0.01)


@pytest.mark.parametrize("build", FACTORED)
def test_norm_option_reaches_the_inner_norm(build):
    factored = build(3, 4, 8, 3, norm="frozen")
    assert [type(m) for m in factored] == [Conv3d, FrozenBatchNorm, nn.ReLU, Conv3d]
