"""Blocks of cross stage partial networks (CSPNet), as in YOLOX.

CSPNet: A New Backbone that can Enhance Learning Capability of CNN, Wang et al. 2019, https://arxiv.org/abs/1911.11929
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vertebra.backbones.frozen_norms import Chain
from vertebra.backbones.layers import FrozenBatchNorm, Norm, conv, norm_layer

# of batch norms, as published
EPS, MOMENTUM = 1e-3, 0.03


def conv_norm(in_channels: int, channels: int, kernel_size: int, norm: Norm, stride: int = 1) -> nn.Sequential:
    """Build a convolution, a norm and a SiLU, with the names `conv`, `bn` and `act`."""
    bn = norm_layer(2, channels, norm)
    if isinstance(bn, _BatchNorm | FrozenBatchNorm):
        bn.eps = EPS
    if isinstance(bn, _BatchNorm):
        bn.momentum = MOMENTUM
    convolution = conv(2, in_channels, channels, kernel_size, stride=stride)
    return Chain(OrderedDict(conv=convolution, bn=bn, act=nn.SiLU(inplace=True)))


class CSPBottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution, beside a shortcut or not.

    Shape:
        (N, channels, H, W) -> the same
    """

    def __init__(self, channels: int, norm: Norm, shortcut: bool = True) -> None:
        super().__init__()
        self.conv1 = conv_norm(channels, channels, 1, norm)
        self.conv2 = conv_norm(channels, channels, 3, norm)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return y + x if self.shortcut else y


class CSPLayer(nn.Module):
    """A branch of bottlenecks beside a 1x1 convolution, each of half the channels, and their fusion.

    Args:
        in_channels: of the input.
        channels: of the output.
        num_blocks: bottlenecks in the branch.
        norm: see `BackboneOptions`.
        shortcut: of the bottlenecks.

    Shape:
        (N, in_channels, H, W) -> (N, channels, H, W)
    """

    def __init__(self, in_channels: int, channels: int, num_blocks: int, norm: Norm, shortcut: bool = True) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = conv_norm(in_channels, hidden, 1, norm)
        self.conv2 = conv_norm(in_channels, hidden, 1, norm)
        self.conv3 = conv_norm(2 * hidden, channels, 1, norm)
        self.m = nn.Sequential(*[CSPBottleneck(hidden, norm, shortcut) for _ in range(num_blocks)])

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.cat((self.m(self.conv1(x)), self.conv2(x)), dim=1))


class SpatialPyramidPooling(nn.Module):
    """Max poolings of 5, 9 and 13 pixels beside the map itself, between two 1x1 convolutions.

    Spatial Pyramid Pooling, He et al. 2014, https://arxiv.org/abs/1406.4729, as in YOLOv3-SPP. The larger windows are
    poolings of 5 in a row, which is the same maximum.

    Shape:
        (N, channels, H, W) -> the same
    """

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = conv_norm(channels, channels // 2, 1, norm)
        self.conv2 = conv_norm(channels // 2 * 4, channels, 1, norm)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.conv1(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.conv2(torch.cat(maps, dim=1))
