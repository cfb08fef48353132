"""Convolutions of other kernels, over frames and separable, as builders (`Convolution`) that blocks accept."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from torch import nn

from vertebra.backbones.frozen_norms import Chain
from vertebra.backbones.layers import Norm, Size, conv, norm_layer, per_axis

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Options(TypedDict, total=False):
    """What a builder passes on to `conv` unchanged."""

    stride: Size
    dilation: Size
    groups: int


def conv_over_frames(
    dim: int, in_channels: int, out_channels: int, kernel_size: Size, *, frames: int, **options: Unpack[Options]
) -> nn.Module:
    """Build a convolution with the temporal kernel size `frames`, and the spatial one of `kernel_size`."""
    _, height, width = per_axis(kernel_size, dim)
    return conv(dim, in_channels, out_channels, (frames, height, width), **options)


# spatial convolution: each frame on its own
spatial_conv = partial(conv_over_frames, frames=1)
# with kernel size 1 a temporal convolution: the first one in blocks of I3D and SlowFast
temporal_conv = partial(conv_over_frames, frames=3)


def sized_conv(
    dim: int, in_channels: int, out_channels: int, kernel_size: Size, *, size: int, **options: Unpack[Options]
) -> nn.Module:
    """Build a convolution with the kernel size `size` on every axis, in place of `kernel_size`."""
    return conv(dim, in_channels, out_channels, size, **options)


def depthwise(
    dim: int, in_channels: int, out_channels: int, kernel_size: Size, **options: Unpack[Options]
) -> nn.Module:
    """Build a depthwise convolution; `groups` is not used.

    Video Classification with Channel-Separated Convolutional Networks, Tran et al. 2019,
    https://arxiv.org/abs/1904.02811.
    """
    options["groups"] = in_channels
    return conv(dim, in_channels, out_channels, kernel_size, **options)


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
    """Build a (2+1)-D convolution: spatial convolution, norm, activation, temporal convolution.

    A Closer Look at Spatiotemporal Convolutions for Action Recognition, Tran et al. 2018,
    https://arxiv.org/abs/1711.11248.

    Args:
        dim: 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of the 3-D convolution that is factored.
        stride: likewise; its first number is that of the temporal convolution.
        dilation: likewise.
        groups: of both.
        norm: see `BackboneOptions`.
        middle: channels between the two, as in the paper if not given (see `matching_channels`).
    """
    middle = middle or matching_channels(in_channels, out_channels)
    (frames, *kernel), (step, *steps), (spread, *spreads) = (per_axis(s, dim) for s in (kernel_size, stride, dilation))
    return Chain(
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
    """Build a (2+1)-D convolution with the temporal part first, and `out_channels` channels between the two.

    The paper (see `spatial_then_temporal`) has the other order; pytorchvideo's published bottleneck network has this.
    """
    (frames, *kernel), (step, *steps), (spread, *spreads) = (per_axis(s, dim) for s in (kernel_size, stride, dilation))
    return Chain(
        OrderedDict(
            temporal=conv(dim, in_channels, out_channels, (frames, 1, 1), (step, 1, 1), (spread, 1, 1), groups),
            norm=norm_layer(dim, out_channels, norm),
            relu=nn.ReLU(inplace=True),
            spatial=conv(dim, out_channels, out_channels, (1, *kernel), (1, *steps), (1, *spreads), groups),
        )
    )


def matching_channels(in_channels: int, out_channels: int) -> int:
    """Return the middle channels at which a (2+1)-D convolution has the weights of a 3x3x3 one (section 3.5)."""
    return 27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)
