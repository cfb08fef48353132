"""The residual blocks, in two and three dimensions.

Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from vertebra.backbones.attention import SqueezeExcite
from vertebra.backbones.layers import Convolution, Norm, conv, norm_layer
from vertebra.backbones.shortcuts import Shortcut, projection


class BlockSpec(NamedTuple):
    """Where a block stands in its network.

    Attributes:
        dim: 2 for images, 3 for clips and volumes.
        stage: number of the stage, from 0.
        number: of the block in its stage, from 0.
        in_channels: channels of the input.
        width: of the stage; what a block makes of it is the block's own affair.
        stride: by which the block reduces its input, for each axis.
        dilation: of the first kernel that is larger than one pixel, for each axis.
        last_dilation: of the others, and of the blocks behind.
        norm: see `BackboneOptions`.
        drop_rate: probability of leaving out the residual branch of a sample in training (stochastic depth).
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
    """Two 3x3 convolutions beside a shortcut; the block of ResNet-18 and -34.

    Args:
        place: where the block stands.
        shortcut: builds what stands beside the convolutions.
        squeeze: ratio of a squeeze-and-excitation at the end of the branch, or None.
        convolution: builds the two convolutions.

    Attributes:
        out_channels: `place.width`.

    Shape:
        (N, in_channels, H, W) -> (N, width, H / stride, W / stride), with a depth in front of H where dim is 3.
    """

    expansion = 1
    folds = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(
        self,
        place: BlockSpec,
        shortcut: Shortcut = projection,
        squeeze: float | None = None,
        convolution: Convolution = conv,
    ) -> None:
        super().__init__()
        dim, norm, width = place.dim, place.norm, place.width
        self.conv1 = convolution(dim, place.in_channels, width, 3, stride=place.stride, dilation=place.dilation)
        self.bn1 = norm_layer(dim, width, norm)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = convolution(dim, width, width, 3, dilation=place.last_dilation)
        self.bn2 = norm_layer(dim, width, norm)
        self.se = SqueezeExcite(dim, width, squeeze) if squeeze else None
        self.drop_path = StochasticDepth(place.drop_rate, "row") if place.drop_rate else None
        self.downsample = shortcut(dim, place.in_channels, width, place.stride, place.last_dilation, norm)
        self.out_channels = width * self.expansion

    @property
    def last_layer(self) -> nn.Module:
        """What closes the residual branch: at zero, the block is its shortcut."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        if self.se is not None:
            x = self.se(x)
        if self.drop_path is not None:
            x = self.drop_path(x)
        return self.relu(x.add_(shortcut))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1 beside a shortcut; the block of ResNet-50 and deeper.

    The stride stands on the 3x3 convolution, not on the first 1x1 as in the paper: what torchvision, timm and most
    published weights have (`ResNet v1.5`). With groups it is the block of ResNeXt (Xie et al. 2016,
    https://arxiv.org/abs/1611.05431), with a larger base width that of Wide ResNet (Zagoruyko and Komodakis 2016,
    https://arxiv.org/abs/1605.07146).

    Args:
        place: where the block stands.
        groups: of the 3x3 convolution.
        base_width: channels of a group in a stage of width 64.
        shortcut: builds what stands beside the convolutions.
        squeeze: ratio of a squeeze-and-excitation at the end of the branch, or None.
        entry: builds the first 1x1 convolution; in a 3-D network it may look along the time.
        convolution: builds the 3x3 convolution.

    Attributes:
        out_channels: 4 times `place.width`.

    Shape:
        (N, in_channels, H, W) -> (N, 4 * width, H / stride, W / stride), with a depth in front of H where dim is 3.
    """

    expansion = 4
    folds = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(
        self,
        place: BlockSpec,
        groups: int = 1,
        base_width: int = 64,
        shortcut: Shortcut = projection,
        squeeze: float | None = None,
        entry: Convolution = conv,
        convolution: Convolution = conv,
    ) -> None:
        super().__init__()
        dim, norm = place.dim, place.norm
        width = place.width * base_width // 64 * groups
        self.out_channels = place.width * self.expansion
        self.conv1 = entry(dim, place.in_channels, width, 1)
        self.bn1 = norm_layer(dim, width, norm)
        self.conv2 = convolution(dim, width, width, 3, stride=place.stride, dilation=place.dilation, groups=groups)
        self.bn2 = norm_layer(dim, width, norm)
        self.conv3 = conv(dim, width, self.out_channels, kernel_size=1)
        self.bn3 = norm_layer(dim, self.out_channels, norm)
        self.relu = nn.ReLU(inplace=True)
        self.se = SqueezeExcite(dim, self.out_channels, squeeze) if squeeze else None
        self.drop_path = StochasticDepth(place.drop_rate, "row") if place.drop_rate else None
        self.downsample = shortcut(dim, place.in_channels, self.out_channels, place.stride, place.last_dilation, norm)

    @property
    def last_layer(self) -> nn.Module:
        """What closes the residual branch: at zero, the block is its shortcut."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        if self.se is not None:
            x = self.se(x)
        if self.drop_path is not None:
            x = self.drop_path(x)
        return self.relu(x.add_(shortcut))
