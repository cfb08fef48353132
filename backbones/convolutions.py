"""Convolutions that treat time and space differently. Each is a `Convolution` that blocks take, for clips (dim 3)."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import nn

from vertebra.backbones.layers import Norm, Size, conv, norm_layer, per_axis


def framed(
    dim: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    dilation: Size = 1,
    groups: int = 1,
    *,
    frames: int,
) -> nn.Module:
    """Build a convolution that sees `frames` frames, and in each of them what `kernel_size` says."""
    _, height, width = per_axis(kernel_size, dim)
    return conv(dim, in_channels, out_channels, (frames, height, width), stride, dilation, groups)


# every frame for itself, as an image
frame_wise = partial(framed, frames=1)
# where the kernel size is 1, along the time only: the first convolution of the blocks of I3D and SlowFast
along_time = partial(framed, frames=3)


def depthwise(
    dim: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    dilation: Size = 1,
    groups: int = 1,
) -> nn.Module:
    """Build a convolution whose every channel is a group of its own, whatever `groups` a block asks for.

    Video Classification with Channel-Separated Convolutional Networks, Tran et al. 2019,
    https://arxiv.org/abs/1904.02811.
    """
    return conv(dim, in_channels, out_channels, kernel_size, stride, dilation, groups=in_channels)


def spatial_then_temporal(
    dim: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    dilation: Size = 1,
    groups: int = 1,
    norm: Norm = "batch",
    middle: int | None = None,
) -> nn.Module:
    """Build a (2+1)-D convolution: one within each frame, a norm, an activation, and one along the time.

    A Closer Look at Spatiotemporal Convolutions for Action Recognition, Tran et al. 2018,
    https://arxiv.org/abs/1711.11248.

    Args:
        dim: 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of the convolution that the two stand for.
        stride: likewise; its first number falls to the one along the time.
        dilation: likewise.
        groups: of both.
        norm: see `BackboneOptions`.
        middle: channels between the two; the paper's number if not given (see `matching_channels`).
    """
    middle = middle or matching_channels(in_channels, out_channels)
    (frames, *kernel), (step, *steps), (spread, *spreads) = (per_axis(s, dim) for s in (kernel_size, stride, dilation))
    return nn.Sequential(
        OrderedDict(
            spatial=conv(dim, in_channels, middle, (1, *kernel), (1, *steps), (1, *spreads), groups),
            norm=norm_layer(dim, middle, norm),
            relu=nn.ReLU(inplace=True),
            temporal=conv(dim, middle, out_channels, (frames, 1, 1), (step, 1, 1), (spread, 1, 1), groups),
        )
    )


def temporal_then_spatial(
    dim: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    dilation: Size = 1,
    groups: int = 1,
    norm: Norm = "batch",
) -> nn.Module:
    """Build a (2+1)-D convolution with the time first, and no more channels between the two than behind.

    The paper (see `spatial_then_temporal`) has the other order; pytorchvideo's published bottleneck network has this.
    """
    (frames, *kernel), (step, *steps), (spread, *spreads) = (per_axis(s, dim) for s in (kernel_size, stride, dilation))
    return nn.Sequential(
        OrderedDict(
            temporal=conv(dim, in_channels, out_channels, (frames, 1, 1), (step, 1, 1), (spread, 1, 1), groups),
            norm=norm_layer(dim, out_channels, norm),
            relu=nn.ReLU(inplace=True),
            spatial=conv(dim, out_channels, out_channels, (1, *kernel), (1, *steps), (1, *spreads), groups),
        )
    )


def matching_channels(in_channels: int, out_channels: int) -> int:
    """Return how many channels give a (2+1)-D convolution as many weights as the 3x3x3 one has (section 3.5)."""
    return 27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)
