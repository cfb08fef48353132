"""Discriminator of SNGAN: residual blocks with spectral normalization, and a projection on the class."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from vertebra.backbones.cpu_convolutions import Conv2d

# size of an image -> width of each block as a fraction of that of the network, and whether it halves the resolution
BLOCKS = {
    32: ((1, True), (1, True), (1, False), (1, False)),
    64: ((16, True), (8, True), (4, True), (2, True), (1, True)),
}


class DiscriminatorBlock(nn.Module):
    """Pre-activation residual block without norms, whose convolutions are spectrally normalized.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        downsample: whether mean pooling halves the resolution.
        first: whether the input is an image: no activation before it, and the shortcut pools before its convolution.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H, W), or (N, out_channels, H/2, W/2) with `downsample`
    """

    def __init__(self, in_channels: int, out_channels: int, downsample: bool, first: bool = False) -> None:
        super().__init__()
        self.first, self.downsample = first, downsample
        hidden = out_channels if first else in_channels
        self.conv1 = _normalized(Conv2d(in_channels, hidden, 3, padding=1), math.sqrt(2))
        self.conv2 = _normalized(Conv2d(hidden, out_channels, 3, padding=1), math.sqrt(2))
        self.shortcut: nn.Module = nn.Identity()
        if downsample or in_channels != out_channels:
            self.shortcut = _normalized(Conv2d(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.downsample:
            # on the sum: pooling is linear, and commutes with a 1x1 convolution
            return F.avg_pool2d(residual, 2) + self.shortcut(F.avg_pool2d(x, 2))
        return residual + self.shortcut(x)


class Discriminator(nn.Module):
    """Discriminator of SNGAN, unconditional or with a projection on the class.

    Spectral Normalization for Generative Adversarial Networks, Miyato et al. 2018, https://arxiv.org/abs/1802.05957;
    cGANs with Projection Discriminator, Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637. Each layer, the
    embedding of the classes included, is normalized once, by one power iteration in each training step.

    Args:
        size: height and width of an image, 32 or 64.
        num_classes: K classes, 0 for an unconditional discriminator.
        width: channels of the last map; 128 for 32 pixels and 1024 for 64 pixels in the papers.

    Shape:
        - images: (N, 3, size, size) in -1..1
        - labels: (N,) int64 in 0..K-1; not used with K = 0
        - output: (N,), high for real images
    """

    def __init__(self, size: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        blocks, channels = [], 3
        for index, (part, downsample) in enumerate(BLOCKS[size]):
            blocks.append(DiscriminatorBlock(channels, width // part, downsample, first=index == 0))
            channels = width // part
        self.blocks = nn.Sequential(*blocks)
        self.linear = _normalized(nn.Linear(channels, 1))
        if num_classes:
            self.projection = _normalized(nn.Embedding(num_classes, channels))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = F.relu(self.blocks(images)).sum(dim=(2, 3))  # (N, width): a sum as in the papers, not a mean
        scores = self.linear(features).squeeze(1)
        if self.num_classes:
            scores = scores + torch.linalg.vecdot(self.projection(labels), features)
        return scores


def _normalized(layer: Conv2d | nn.Linear | nn.Embedding, gain: float = 1.0) -> nn.Module:
    """Initialize a layer as in the papers, and normalize its weight spectrally."""
    # before: the normalization estimates singular vectors of the weight that it is given
    nn.init.xavier_uniform_(layer.weight, gain)
    return spectral_norm(layer)
