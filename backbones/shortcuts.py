"""What stands beside the convolutions of a residual block where the shapes of its input and output differ."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from backbones.layers import Norm, conv, norm_layer

# dim, in_channels, out_channels, stride, dilation, norm -> a module, or None for the identity
Shortcut = Callable[[int, int, int, int, int, Norm], "nn.Module | None"]


def projection(
    dim: int, in_channels: int, out_channels: int, stride: int, dilation: int, norm: Norm
) -> nn.Module | None:
    """Build option B of He et al. 2015: identity where the shapes agree, else a strided 1x1 convolution with norm."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        conv(dim, in_channels, out_channels, kernel_size=1, stride=stride), norm_layer(dim, out_channels, norm)
    )


def average_projection(
    dim: int, in_channels: int, out_channels: int, stride: int, dilation: int, norm: Norm
) -> nn.Module | None:
    """Build a projection that averages where the other one skips three pixels of four.

    ResNet-D of Bag of Tricks for Image Classification, He et al. 2018, https://arxiv.org/abs/1812.01187.
    """
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        _average(dim, stride, dilation),
        conv(dim, in_channels, out_channels, kernel_size=1),
        norm_layer(dim, out_channels, norm),
    )


def _average(dim: int, stride: int, dilation: int) -> nn.Module:
    if stride == 1:
        return AverageAhead() if dilation > 1 else nn.Identity()
    pool = nn.AvgPool2d if dim == 2 else nn.AvgPool3d
    return pool(2, stride, ceil_mode=True, count_include_pad=False)


class AverageAhead(nn.Module):
    """The mean of a pixel and its next neighbours: the average shortcut where a stage dilates and does not stride.

    Shape:
        (N, C, ...) -> (N, C, ...)
    """

    def forward(self, x: Tensor) -> Tensor:
        dim = x.dim() - 2
        pool = F.avg_pool2d if dim == 2 else F.avg_pool3d
        return pool(F.pad(x, (0, 1) * dim), kernel_size=2, stride=1)
