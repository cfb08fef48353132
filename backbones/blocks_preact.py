"""Pre-activation residual blocks: norm and activation precede each convolution, and the shortcut is an identity.

Identity Mappings in Deep Residual Networks, He et al. 2016, https://arxiv.org/abs/1603.05027
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from vertebra.backbones.blocks import BlockSpec
from vertebra.backbones.frozen_norms import chain
from vertebra.backbones.layers import Norm, conv, norm_layer
from vertebra.backbones.shortcuts import Shortcut, preact_projection


class PreActBasicBlock(nn.Module):
    """Pre-activation basic block: norm, ReLU and a 3x3 convolution, twice; also the block of Wide ResNet.

    Wide Residual Networks, Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146. A projection shortcut
    starts from the first activation, not from the input.

    Args:
        spec: position and shape of the block.
        shortcut: builds the shortcut.

    Attributes:
        out_channels: `spec.width`.

    Shape:
        (N, in_channels, H, W) -> (N, width, H / stride, W / stride), and (N, C, D, H, W) with `dim=3`.
    """

    expansion = 1
    folds = (("conv1", "bn2"),)

    def __init__(self, spec: BlockSpec, shortcut: Shortcut = preact_projection) -> None:
        super().__init__()
        dim, norm, width = spec.dim, spec.norm, spec.width
        self.out_channels = width * self.expansion
        self.bn1 = norm_layer(dim, spec.in_channels, norm)
        self.conv1 = conv(dim, spec.in_channels, width, 3, stride=spec.stride, dilation=spec.dilation)
        self.bn2 = norm_layer(dim, width, norm)
        self.conv2 = conv(dim, width, width, 3, dilation=spec.last_dilation)
        self.relu = nn.ReLU(inplace=True)
        self.drop_path = StochasticDepth(spec.drop_rate, "row") if spec.drop_rate else None
        self.downsample = shortcut(dim, spec.in_channels, self.out_channels, spec.stride, spec.last_dilation, norm)

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch; with its weights at zero the block is its shortcut."""
        return self.conv2

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(activated)
        x = chain(activated, self.conv1, self.bn2, self.relu, self.conv2)
        if self.drop_path is not None:
            x = self.drop_path(x)
        return x.add_(shortcut)


class PreActBottleneck(nn.Module):
    """Pre-activation bottleneck: norm, ReLU and a convolution, for 1x1, 3x3 (with the stride) and 1x1.

    Args:
        spec: position and shape of the block.
        shortcut: builds the shortcut.

    Attributes:
        out_channels: 4 times `spec.width`.

    Shape:
        (N, in_channels, H, W) -> (N, 4 * width, H / stride, W / stride), and (N, C, D, H, W) with `dim=3`.
    """

    expansion = 4
    folds = (("conv1", "bn2"), ("conv2", "bn3"))

    def __init__(self, spec: BlockSpec, shortcut: Shortcut = preact_projection) -> None:
        super().__init__()
        dim, norm, width = spec.dim, spec.norm, spec.width
        self.out_channels = width * self.expansion
        self.bn1 = norm_layer(dim, spec.in_channels, norm)
        self.conv1 = conv(dim, spec.in_channels, width, 1)
        self.bn2 = norm_layer(dim, width, norm)
        self.conv2 = conv(dim, width, width, 3, stride=spec.stride, dilation=spec.dilation)
        self.bn3 = norm_layer(dim, width, norm)
        self.conv3 = conv(dim, width, self.out_channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.drop_path = StochasticDepth(spec.drop_rate, "row") if spec.drop_rate else None
        self.downsample = shortcut(dim, spec.in_channels, self.out_channels, spec.stride, spec.last_dilation, norm)

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch; with its weights at zero the block is its shortcut."""
        return self.conv3

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(activated)
        x = chain(activated, self.conv1, self.bn2, self.relu, self.conv2, self.bn3, self.relu, self.conv3)
        if self.drop_path is not None:
            x = self.drop_path(x)
        return x.add_(shortcut)


def norm_and_relu(dim: int, channels: int, norm: Norm) -> nn.Module:
    """Build the norm and the activation after the last block of a pre-activation network."""
    return nn.Sequential(norm_layer(dim, channels, norm), nn.ReLU(inplace=True))
