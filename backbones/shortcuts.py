"""Shortcuts of residual blocks whose input and output differ in shape."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.frozen_norms import Chain
from vertebra.backbones.layers import Norm, Size, average_pool, conv, norm_layer, per_axis

# (dim, in_channels, out_channels, stride, dilation, norm) -> a module, or None for the identity
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
    return Chain(
        conv(dim, in_channels, out_channels, kernel_size=1, stride=stride), norm_layer(dim, out_channels, norm)
    )


def zero_padded(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build option A of He et al. 2015: subsampling and zero-padded channels, without parameters."""
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    return ZeroPadded(per_axis(stride, dim), 0, out_channels - in_channels)


def centered_zero_padded(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build option A with half of the zeros on each side, as published CIFAR weights were trained."""
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    before = (out_channels - in_channels) // 2
    return ZeroPadded(per_axis(stride, dim), before, out_channels - in_channels - before)


def preact_projection(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build a projection without a norm, for pre-activation blocks."""
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    return nn.Sequential(nn.Identity(), conv(dim, in_channels, out_channels, kernel_size=1, stride=stride))


def preact_average_projection(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build an average-pooling projection without a norm, for pre-activation blocks."""
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    return nn.Sequential(_average(dim, stride, dilation), conv(dim, in_channels, out_channels, kernel_size=1))


class ZeroPadded(nn.Module):
    """Parameter-free shortcut: subsampling by strided slicing, and channels of zeros.

    Args:
        strides: of the slicing, for each axis.
        before: number of zero channels ahead of the input's.
        after: number of zero channels after the input's.

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
    """Build a projection with average pooling, which uses all pixels where a strided one skips three of four.

    ResNet-D of Bag of Tricks for Image Classification, He et al. 2018, https://arxiv.org/abs/1812.01187.
    """
    if in_channels == out_channels and not _strides(dim, stride):
        return None
    return full_average_projection(dim, in_channels, out_channels, stride, dilation, norm)


def full_average_projection(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build the averaging projection also where the shapes agree."""
    return Chain(
        _average(dim, stride, dilation),
        conv(dim, in_channels, out_channels, kernel_size=1),
        norm_layer(dim, out_channels, norm),
    )


def _average(dim: int, stride: Size, dilation: Size) -> nn.Module:
    if not _strides(dim, stride):
        return DilatedStageAverage() if max(per_axis(dilation, dim)) > 1 else nn.Identity()
    return average_pool(dim, stride)


def _strides(dim: int, stride: Size) -> bool:
    return max(per_axis(stride, dim)) > 1


class DilatedStageAverage(nn.Module):
    """Average pooling of size 2 and stride 1: the shortcut of ResNet-D in a stage that dilates instead of striding.

    Shape:
        (N, C, ...) -> (N, C, ...)
    """

    def forward(self, x: Tensor) -> Tensor:
        dim = x.dim() - 2
        pool = F.avg_pool2d if dim == 2 else F.avg_pool3d
        return pool(F.pad(x, (0, 1) * dim), kernel_size=2, stride=1)
