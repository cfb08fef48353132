"""Generator of SNGAN: residual blocks that double the resolution, from noise to an image."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.cpu_convolutions import Conv2d

# size of an image -> width of the first map and of each block's output, as fractions of the width of the network
WIDTHS = {32: (1, 1, 1, 1), 64: (1, 2, 4, 8, 16)}
FIRST = 4  # height and width of the first map


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose scale and shift depend on the class.

    A Learned Representation for Artistic Style, Dumoulin et al. 2017, https://arxiv.org/abs/1610.07629. The scale is 1
    plus an embedding, so that weight decay pulls it to 1 and not to 0.

    Args:
        channels: C.
        num_classes: K.

    Shape:
        - x: (N, C, H, W)
        - labels: (N,) int64 in 0..K-1
        - output: (N, C, H, W)
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(num_classes, channels)
        self.shift = nn.Embedding(num_classes, channels)
        nn.init.normal_(self.scale.weight, std=0.02)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        scale, shift = (part(labels)[:, :, None, None] for part in (self.scale, self.shift))
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class GeneratorBlock(nn.Module):
    """Pre-activation residual block that doubles the resolution, bilinearly; its shortcut has a 1x1 convolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        num_classes: K of conditional batch norm; 0 for plain batch norm.

    Shape:
        - x: (N, in_channels, H, W)
        - labels: (N,) int64 in 0..K-1; not used with K = 0
        - output: (N, out_channels, 2H, 2W)
    """

    def __init__(self, in_channels: int, out_channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels, num_classes)
        self.conv1 = Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels, num_classes)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = Conv2d(in_channels, out_channels, 1)
        for conv in (self.conv1, self.conv2):
            nn.init.xavier_uniform_(conv.weight, math.sqrt(2))
        nn.init.xavier_uniform_(self.shortcut.weight)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        residual = self.conv1(_doubled(F.relu(_normed(self.norm1, x, labels))))
        residual = self.conv2(F.relu(_normed(self.norm2, residual, labels)))
        # a 1x1 convolution and interpolation commute; before it, the convolution has a quarter of the operations
        return residual + _doubled(self.shortcut(x))


class Generator(nn.Module):
    """Generator of SNGAN, unconditional or with conditional batch norm.

    Spectral Normalization for Generative Adversarial Networks, Miyato et al. 2018, https://arxiv.org/abs/1802.05957;
    with classes, cGANs with Projection Discriminator, Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637.
    Upsampling is bilinear as in torch-mimicry, where the papers repeat pixels.

    Args:
        size: height and width of an image, 32 or 64.
        num_classes: K classes, 0 for an unconditional generator.
        width: channels of the first map; 256 for 32 pixels and 1024 for 64 pixels in the papers.
        noise_dim: Z, length of the noise.

    Shape:
        - noise: (N, Z), standard normal
        - labels: (N,) int64 in 0..K-1; not used with K = 0
        - output: (N, 3, size, size) in -1..1
    """

    def __init__(self, size: int, num_classes: int, width: int, noise_dim: int = 128) -> None:
        super().__init__()
        channels = [width // part for part in WIDTHS[size]]
        self.num_classes, self.noise_dim = num_classes, noise_dim
        self.linear = nn.Linear(noise_dim, channels[0] * FIRST**2)
        self.blocks = nn.ModuleList(
            GeneratorBlock(before, after, num_classes) for before, after in itertools.pairwise(channels)
        )
        self.norm = nn.BatchNorm2d(channels[-1])
        self.conv = Conv2d(channels[-1], 3, 3, padding=1)
        for layer in (self.linear, self.conv):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.linear(noise).unflatten(1, (-1, FIRST, FIRST))
        for block in self.blocks:
            x = block(x, labels)
        return torch.tanh(self.conv(F.relu(self.norm(x))))


def _norm(channels: int, num_classes: int) -> nn.Module:
    return ConditionalBatchNorm2d(channels, num_classes) if num_classes else nn.BatchNorm2d(channels)


def _normed(norm: nn.Module, x: Tensor, labels: Tensor | None) -> Tensor:
    return norm(x, labels) if isinstance(norm, ConditionalBatchNorm2d) else norm(x)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
