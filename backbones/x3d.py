"""X3D: an efficient ResNet for clips, expanded axis by axis from a tiny one.

X3D: Expanding Architectures for Efficient Video Recognition, Feichtenhofer 2020, https://arxiv.org/abs/2004.04730
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from vertebra.backbones.attention import SqueezeExcite
from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BlockSpec
from vertebra.backbones.convolutions import depthwise
from vertebra.backbones.frozen_norms import Chain, chain
from vertebra.backbones.fused_inference import Plus
from vertebra.backbones.layers import Norm, Size, conv, norm_layer
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.shortcuts import projection
from vertebra.backbones.stems import Stem

EXPANSION = 2.25  # channels inside a block to those of its stage
HEAD_WIDTH = 2048  # of the paper's last hidden layer, which costs little since the pooling leaves it one position


class X3D(ResNet):
    """X3D-S and X3D-M: one network, for clips of 13 frames and 160 pixels a side, or of 16 frames and 224 pixels.

    The paper's `conv5`, after C5, is part of the classification head (see `head_widths`).

    Args:
        options: of any backbone.

    Shape:
        - clips: (N, in_channels, T, H, W)
        - output: dict of `level.name` to (N, level.channels, T, ceil(H / reduction), ceil(W / reduction))
    """

    def __init__(self, options: BackboneOptions | None = None) -> None:
        super().__init__(
            X3DBlock,
            (3, 5, 11, 7),  # 1, 2, 5 and 3 blocks, times 2.2
            options,
            dim=3,
            stem=x3d_stem,
            widths=(24, 48, 96, 192),
            strides=((1, 2, 2),) * 4,
        )
        self.head_widths = int(self.levels[-1].channels * EXPANSION), HEAD_WIDTH


class X3DBlock(nn.Module):
    """Inverted bottleneck: 1x1x1 expansion, depthwise 3x3x3 convolution, 1x1x1 projection, and a shortcut.

    Every other block, from the first on, has a squeeze-and-excitation.

    Args:
        spec: position and shape of the block.

    Attributes:
        out_channels: `spec.width`.

    Shape:
        (N, in_channels, T, H, W) -> (N, width, T, H / stride, W / stride)
    """

    folds = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        dim, norm, self.out_channels = spec.dim, spec.norm, spec.width
        inner = int(spec.width * EXPANSION)
        self.conv1 = conv(dim, spec.in_channels, inner, kernel_size=1)
        self.bn1 = norm_layer(dim, inner, norm)
        self.conv2 = depthwise(dim, inner, inner, 3, stride=spec.stride, dilation=spec.dilation)
        self.bn2 = norm_layer(dim, inner, norm)
        self.se = SqueezeExcite(dim, inner, squeezed_channels(inner) / inner) if spec.number % 2 == 0 else None
        self.conv3 = conv(dim, inner, spec.width, kernel_size=1)
        self.bn3 = norm_layer(dim, spec.width, norm)
        self.relu = nn.ReLU(inplace=True)
        self.swish = nn.SiLU()
        self.drop_path = StochasticDepth(spec.drop_rate, "row") if spec.drop_rate else None
        self.downsample = x3d_shortcut(dim, spec.in_channels, spec.width, spec.stride, spec.last_dilation, spec.norm)

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch; with its weights at zero the block is its shortcut."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = chain(x, self.conv1, self.bn1, self.relu)
        x = chain(x, self.conv2, self.bn2)
        if self.se is not None:
            x = self.se(x)
        drop = () if self.drop_path is None else (self.drop_path,)
        return chain(x, self.swish, self.conv3, self.bn3, *drop, Plus(shortcut), self.relu)


def squeezed_channels(channels: int) -> int:
    """Return a sixteenth of the channels, rounded to a multiple of 8 that is at most a tenth below it."""
    squeezed = max(8, int(channels / 16 + 4) // 8 * 8)
    return squeezed if squeezed >= 0.9 * channels / 16 else squeezed + 8


def x3d_shortcut(
    dim: int, in_channels: int, out_channels: int, stride: Size, dilation: Size, norm: Norm
) -> nn.Module | None:
    """Build a projection shortcut; without a norm where the channels agree, as in the published weights."""
    shortcut = projection(dim, in_channels, out_channels, stride, dilation, norm)
    if in_channels == out_channels and isinstance(shortcut, nn.Sequential):
        return shortcut[:1]
    return shortcut


def x3d_stem(dim: int, in_channels: int, norm: Norm) -> Stem:
    """Build the stem: a spatial 3x3 convolution, directly followed by a depthwise temporal one of 5 frames."""
    conv1 = Chain(
        OrderedDict(
            spatial=conv(dim, in_channels, 24, kernel_size=(1, 3, 3), stride=(1, 2, 2)),
            temporal=depthwise(dim, 24, 24, kernel_size=(5, 1, 1)),
        )
    )
    return Stem(conv1, norm_layer(dim, 24, norm), nn.ReLU(inplace=True), nn.Identity(), 24, (1, 2, 2))


@register
def x3d_s(options: BackboneOptions) -> X3D:
    """X3D-S."""
    return X3D(options)


@register
def x3d_m(options: BackboneOptions) -> X3D:
    """X3D-M."""
    return X3D(options)
