"""What stands before the first stage: convolutions and a pooling that together reduce an image by four."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from backbones.layers import Norm, conv, max_pool, norm_layer


class Stem(NamedTuple):
    """The parts of a stem; a norm and a ReLU stand between the two.

    Attributes:
        conv1: halves the size.
        channels: that `conv1` gives.
        maxpool: halves it again; called so by published weights even where it is a convolution.
    """

    conv1: nn.Module
    channels: int
    maxpool: nn.Module


def plain_stem(dim: int, in_channels: int, norm: Norm) -> Stem:
    """Build the paper's 7x7 convolution and max pooling (He et al. 2015)."""
    return Stem(conv(dim, in_channels, 64, kernel_size=7, stride=2), 64, max_pool(dim, kernel_size=3, stride=2))


def deep_stem(
    dim: int, in_channels: int, norm: Norm, widths: tuple[int, int, int] = (32, 32, 64), learned_pool: bool = False
) -> Stem:
    """Build three 3x3 convolutions in place of the 7x7.

    ResNet-C of Bag of Tricks for Image Classification, He et al. 2018, https://arxiv.org/abs/1812.01187.

    Args:
        dim: 2 for images, 3 for clips and volumes.
        in_channels: channels of the input.
        norm: see `BackboneOptions`.
        widths: channels of the three convolutions.
        learned_pool: halve the size the second time by a strided convolution, as Revisiting ResNets (Bello et al. 2021,
            https://arxiv.org/abs/2103.07579) does, in place of max pooling.
    """
    first, second, channels = widths
    conv1 = nn.Sequential(
        conv(dim, in_channels, first, kernel_size=3, stride=2),
        norm_layer(dim, first, norm),
        nn.ReLU(inplace=True),
        conv(dim, first, second, kernel_size=3),
        norm_layer(dim, second, norm),
        nn.ReLU(inplace=True),
        conv(dim, second, channels, kernel_size=3),
    )
    if not learned_pool:
        return Stem(conv1, channels, max_pool(dim, kernel_size=3, stride=2))
    pool = nn.Sequential(
        conv(dim, channels, channels, kernel_size=3, stride=2), norm_layer(dim, channels, norm), nn.ReLU(inplace=True)
    )
    return Stem(conv1, channels, pool)
