"""What stands beside the convolutions of a residual block where the shapes of its input and output differ."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.layers import Norm, Size, average_pool, conv, norm_layer, per_axis

# dim, in_channels, out_channels, stride, dilation, norm -> a module, or None for the identity
Shortcut = Callable[[int, int, int, Size, Size, Norm], "nn.Module | None"]


def projection(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build option B of He et al. 2015: identity where the shapes agree, else a strided 1x1 convolution with norm."""
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    return full_projection(dim, in_channels, out_channels, stride, dilation, norm)


def full_projection(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build option C of He et al. 2015: a strided 1x1 convolution with norm, everywhere."""
    return nn.Sequential(
        conv(dim, in_channels, out_channels, kernel_size=1, stride=stride), norm_layer(dim, out_channels, norm)
    )


def zero_padded(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build option A of He et al. 2015: every second pixel, and channels of zeros, so that it has no parameters."""
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    return ZeroPadded(per_axis(stride, dim), 0, out_channels - in_channels)


def zero_surrounded(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build option A with half of the zeros on each side, which published CIFAR weights were trained with."""
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    before = (out_channels - in_channels) // 2
    return ZeroPadded(per_axis(stride, dim), before, out_channels - in_channels - before)


def bare_projection(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build a projection without a norm, for blocks that have normed their input already."""
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    return nn.Sequential(nn.Identity(), conv(dim, in_channels, out_channels, kernel_size=1, stride=stride))


def bare_average_projection(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build an averaging projection without a norm, for blocks that have normed their input already."""
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    return nn.Sequential(_average(dim, stride, dilation), conv(dim, in_channels, out_channels, kernel_size=1))


class ZeroPadded(nn.Module):
    """The identity, subsampled and with channels of zeros around it.

    Args:
        strides: for each axis, of the pixels that are kept.
        before: channels of zeros in front.
        after: channels of zeros behind.

    Shape:
        (N, C, ...) -> (N, before + C + after, ceil(... / strides))
    """

    def __init__(self, strides: tuple[int, ...], before: int, after: int) -> None:
        super().__init__()
        self.strides = strides
        self.channels = (before, after)

    def forward(self, x: Tensor) -> Tensor:
        for axis, stride in enumerate(self.strides, start=2):
            if stride > 1:
                x = x[(slice(None),) * axis + (slice(None, None, stride),)]
        return F.pad(x, (0, 0) * len(self.strides) + self.channels)


def average_projection(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build a projection that averages where the other one skips three pixels of four.

    ResNet-D of Bag of Tricks for Image Classification, He et al. 2018, https://arxiv.org/abs/1812.01187.
    """
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    return nn.Sequential(
        _average(dim, stride, dilation),
        conv(dim, in_channels, out_channels, kernel_size=1),
        norm_layer(dim, out_channels, norm),
    )


def _average(dim: int, stride: Size, dilation: Size) -> nn.Module:
    if not _strides(dim, stride):
        return AverageAhead() if max(per_axis(dilation, dim)) > 1 else nn.Identity()
    return average_pool(dim, stride)


def _strides(dim: int, stride: Size) -> bool:
    return max(per_axis(stride, dim)) > 1


class AverageAhead(nn.Module):
    """The mean of a pixel and its next neighbors: the average shortcut where a stage dilates and does not stride.

    Shape:
        (N, C, ...) -> (N, C, ...)
    """

    def forward(self, x: Tensor) -> Tensor:
        dim = x.dim() - 2
        pool = F.avg_pool2d if dim == 2 else F.avg_pool3d
        return pool(F.pad(x, (0, 1) * dim), kernel_size=2, stride=1)
