"""The residual blocks, in two and three dimensions.

Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from backbones.layers import Norm, conv, norm_layer


def projection_shortcut(dim: int, in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Module | None:
    """Build the paper's option B: identity (None) where the shapes agree, else a strided 1x1 convolution with norm."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        conv(dim, in_channels, out_channels, kernel_size=1, stride=stride), norm_layer(dim, out_channels, norm)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the block of ResNet-18 and -34.

    Args:
        dim: 2 for images, 3 for clips and volumes.
        in_channels: channels of the input.
        width: channels inside; the output has `width * expansion`.
        stride: of the first convolution and of the shortcut.
        dilation: of the first convolution.
        last_dilation: of the second convolution.
        norm: see `BackboneOptions`.

    Shape:
        (N, in_channels, H, W) -> (N, width, H / stride, W / stride), with a depth in front of H where dim is 3.
    """

    expansion: ClassVar[int] = 1

    def __init__(
        self, dim: int, in_channels: int, width: int, stride: int, dilation: int, last_dilation: int, norm: Norm
    ) -> None:
        super().__init__()
        self.conv1 = conv(dim, in_channels, width, kernel_size=3, stride=stride, dilation=dilation)
        self.bn1 = norm_layer(dim, width, norm)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv(dim, width, width, kernel_size=3, dilation=last_dilation)
        self.bn2 = norm_layer(dim, width, norm)
        self.downsample = projection_shortcut(dim, in_channels, width, stride, norm)

    @property
    def last_norm(self) -> nn.Module:
        """The norm that closes the residual branch."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1 beside a shortcut; the block of ResNet-50 and deeper.

    The stride stands on the 3x3 convolution, not on the first 1x1 as in the paper: what torchvision, timm and most
    published weights have (`ResNet v1.5`).

    Args:
        dim: 2 for images, 3 for clips and volumes.
        in_channels: channels of the input.
        width: channels of the 3x3 convolution; the output has `width * expansion`.
        stride: of the 3x3 convolution and of the shortcut.
        dilation: of the 3x3 convolution.
        last_dilation: dilation that the block hands on; unused, since its last convolution is 1x1.
        norm: see `BackboneOptions`.

    Shape:
        (N, in_channels, H, W) -> (N, 4 * width, H / stride, W / stride), with a depth in front of H where dim is 3.
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self, dim: int, in_channels: int, width: int, stride: int, dilation: int, last_dilation: int, norm: Norm
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = conv(dim, in_channels, width, kernel_size=1)
        self.bn1 = norm_layer(dim, width, norm)
        self.conv2 = conv(dim, width, width, kernel_size=3, stride=stride, dilation=dilation)
        self.bn2 = norm_layer(dim, width, norm)
        self.conv3 = conv(dim, width, out_channels, kernel_size=1)
        self.bn3 = norm_layer(dim, out_channels, norm)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection_shortcut(dim, in_channels, out_channels, stride, norm)

    @property
    def last_norm(self) -> nn.Module:
        """The norm that closes the residual branch."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)
