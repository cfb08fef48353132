"""Residual blocks in two and three dimensions.

Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from vertebra.backbones.attention import SqueezeExcite
from vertebra.backbones.frozen_norms import chain
from vertebra.backbones.fused_inference import Plus
from vertebra.backbones.layers import Convolution, Norm, conv, norm_layer
from vertebra.backbones.shortcuts import Shortcut, projection


class BlockSpec(NamedTuple):
    """Position and shape of a block in its network.

    Attributes:
        dim: 2 for images, 3 for clips and volumes.
        stage: index of the stage, from 0.
        number: index of the block in its stage, from 0.
        in_channels: channels of the input.
        width: of the stage; a block's `out_channels` are a multiple of it.
        stride: of the block, for each axis.
        dilation: of the first kernel that is larger than one pixel, for each axis.
        last_dilation: of the later kernels, and of the next blocks.
        norm: see `BackboneOptions`.
        drop_rate: probability of dropping the residual branch of a sample in training (stochastic depth).
    """

    dim: int
    stage: int
    number: int
    in_channels: int
    width: int
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    last_dilation: tuple[int, ...]
    norm: Norm
    drop_rate: float


class BasicBlock(nn.Module):
    """Basic residual block: two 3x3 convolutions and a shortcut, as in ResNet-18 and -34.

    Args:
        spec: position and shape of the block.
        shortcut: builds the shortcut.
        squeeze: ratio of a squeeze-and-excitation at the end of the residual branch, or None.
        convolution: builds the two convolutions.

    Attributes:
        out_channels: `spec.width`.

    Shape:
        (N, in_channels, H, W) -> (N, width, H / stride, W / stride), and (N, C, D, H, W) with `dim=3`.
    """

    expansion = 1
    folds = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(
        self,
        spec: BlockSpec,
        shortcut: Shortcut = projection,
        squeeze: float | None = None,
        convolution: Convolution = conv,
    ) -> None:
        super().__init__()
        dim, norm, width = spec.dim, spec.norm, spec.width
        self.conv1 = convolution(dim, spec.in_channels, width, 3, stride=spec.stride, dilation=spec.dilation)
        self.bn1 = norm_layer(dim, width, norm)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = convolution(dim, width, width, 3, dilation=spec.last_dilation)
        self.bn2 = norm_layer(dim, width, norm)
        self.se = SqueezeExcite(dim, width, squeeze) if squeeze else None
        self.drop_path = StochasticDepth(spec.drop_rate, "row") if spec.drop_rate else None
        self.downsample = shortcut(dim, spec.in_channels, width, spec.stride, spec.last_dilation, norm)
        self.out_channels = width * self.expansion

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch; with its weights at zero the block is its shortcut."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        first = (self.conv1, self.bn1, self.relu, self.conv2, self.bn2)
        extras = [layer for layer in (self.se, self.drop_path) if layer is not None]
        return chain(x, *first, *extras, Plus(shortcut), self.relu)


class Bottleneck(nn.Module):
    """Bottleneck residual block: 1x1, 3x3 and 1x1 convolutions and a shortcut, as in ResNet-50 and deeper.

    The 3x3 convolution has the stride, not the first 1x1 as in the paper: so do torchvision, timm and most published
    weights (ResNet v1.5). With groups it is the block of ResNeXt (Xie et al. 2016, https://arxiv.org/abs/1611.05431),
    with a larger base width that of Wide ResNet (Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146).

    Args:
        spec: position and shape of the block.
        groups: of the 3x3 convolution.
        base_width: channels of a group in a stage of width 64.
        shortcut: builds the shortcut.
        squeeze: ratio of a squeeze-and-excitation at the end of the residual branch, or None.
        entry: builds the first 1x1 convolution, which is a temporal one in some 3-D networks.
        convolution: builds the 3x3 convolution.

    Attributes:
        out_channels: 4 times `spec.width`.

    Shape:
        (N, in_channels, H, W) -> (N, 4 * width, H / stride, W / stride), and (N, C, D, H, W) with `dim=3`.
    """

    expansion = 4
    folds = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(
        self,
        spec: BlockSpec,
        groups: int = 1,
        base_width: int = 64,
        shortcut: Shortcut = projection,
        squeeze: float | None = None,
        entry: Convolution = conv,
        convolution: Convolution = conv,
    ) -> None:
        super().__init__()
        dim, norm = spec.dim, spec.norm
        width = spec.width * base_width // 64 * groups
        self.out_channels = spec.width * self.expansion
        self.conv1 = entry(dim, spec.in_channels, width, 1)
        self.bn1 = norm_layer(dim, width, norm)
        self.conv2 = convolution(dim, width, width, 3, stride=spec.stride, dilation=spec.dilation, groups=groups)
        self.bn2 = norm_layer(dim, width, norm)
        self.conv3 = conv(dim, width, self.out_channels, kernel_size=1)
        self.bn3 = norm_layer(dim, self.out_channels, norm)
        self.relu = nn.ReLU(inplace=True)
        self.se = SqueezeExcite(dim, self.out_channels, squeeze) if squeeze else None
        self.drop_path = StochasticDepth(spec.drop_rate, "row") if spec.drop_rate else None
        self.downsample = shortcut(dim, spec.in_channels, self.out_channels, spec.stride, spec.last_dilation, norm)

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch; with its weights at zero the block is its shortcut."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        first = (self.conv1, self.bn1, self.relu, self.conv2, self.bn2, self.relu, self.conv3, self.bn3)
        extras = [layer for layer in (self.se, self.drop_path) if layer is not None]
        return chain(x, *first, *extras, Plus(shortcut), self.relu)
