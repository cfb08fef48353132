"""Residual blocks that put norm and activation in front of their convolutions, so that the shortcut stays clean.

Identity Mappings in Deep Residual Networks, He et al. 2016, https://arxiv.org/abs/1603.05027
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from vertebra.backbones.blocks import BlockSpec
from vertebra.backbones.layers import Norm, conv, norm_layer
from vertebra.backbones.shortcuts import Shortcut, bare_projection


class PreActBasicBlock(nn.Module):
    """Norm, ReLU and a 3x3 convolution, twice; the block of Wide ResNet too.

    Wide Residual Networks, Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146. A projection starts from
    the first activation, not from the input.

    Args:
        place: where the block stands.
        shortcut: builds what stands beside the convolutions.

    Attributes:
        out_channels: `place.width`.

    Shape:
        (N, in_channels, H, W) -> (N, width, H / stride, W / stride), with a depth in front of H where dim is 3.
    """

    expansion = 1
    folds = (("conv1", "bn2"),)

    def __init__(self, place: BlockSpec, shortcut: Shortcut = bare_projection) -> None:
        super().__init__()
        dim, norm, width = place.dim, place.norm, place.width
        self.out_channels = width * self.expansion
        self.bn1 = norm_layer(dim, place.in_channels, norm)
        self.conv1 = conv(dim, place.in_channels, width, 3, stride=place.stride, dilation=place.dilation)
        self.bn2 = norm_layer(dim, width, norm)
        self.conv2 = conv(dim, width, width, 3, dilation=place.last_dilation)
        self.relu = nn.ReLU(inplace=True)
        self.drop_path = StochasticDepth(place.drop_rate, "row") if place.drop_rate else None
        self.downsample = shortcut(dim, place.in_channels, self.out_channels, place.stride, place.last_dilation, norm)

    @property
    def last_layer(self) -> nn.Module:
        """What closes the residual branch: at zero, the block is its shortcut."""
        return self.conv2

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(activated)
        x = self.conv2(self.relu(self.bn2(self.conv1(activated))))
        if self.drop_path is not None:
            x = self.drop_path(x)
        return x.add_(shortcut)


class PreActBottleneck(nn.Module):
    """Norm, ReLU and a convolution, three times: 1x1, 3x3, 1x1; the stride stands on the 3x3.

    Args:
        place: where the block stands.
        shortcut: builds what stands beside the convolutions.

    Attributes:
        out_channels: 4 times `place.width`.

    Shape:
        (N, in_channels, H, W) -> (N, 4 * width, H / stride, W / stride), with a depth in front of H where dim is 3.
    """

    expansion = 4
    folds = (("conv1", "bn2"), ("conv2", "bn3"))

    def __init__(self, place: BlockSpec, shortcut: Shortcut = bare_projection) -> None:
        super().__init__()
        dim, norm, width = place.dim, place.norm, place.width
        self.out_channels = width * self.expansion
        self.bn1 = norm_layer(dim, place.in_channels, norm)
        self.conv1 = conv(dim, place.in_channels, width, 1)
        self.bn2 = norm_layer(dim, width, norm)
        self.conv2 = conv(dim, width, width, 3, stride=place.stride, dilation=place.dilation)
        self.bn3 = norm_layer(dim, width, norm)
        self.conv3 = conv(dim, width, self.out_channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.drop_path = StochasticDepth(place.drop_rate, "row") if place.drop_rate else None
        self.downsample = shortcut(dim, place.in_channels, self.out_channels, place.stride, place.last_dilation, norm)

    @property
    def last_layer(self) -> nn.Module:
        """What closes the residual branch: at zero, the block is its shortcut."""
        return self.conv3

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(activated)
        x = self.conv2(self.relu(self.bn2(self.conv1(activated))))
        x = self.conv3(self.relu(self.bn3(x)))
        if self.drop_path is not None:
            x = self.drop_path(x)
        return x.add_(shortcut)


def norm_and_relu(dim: int, channels: int, norm: Norm) -> nn.Module:
    """Build what the last sum of a pre-activation network goes through."""
    return nn.Sequential(norm_layer(dim, channels, norm), nn.ReLU(inplace=True))
