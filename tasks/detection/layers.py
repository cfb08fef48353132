"""Layers that several heads are made of."""

from __future__ import annotations

from torch import nn

from vertebra.backbones.layers import Norm, conv, norm_layer


def conv_stack(channels: int, num_convs: int, norm: Norm | None, bias: bool = False) -> list[nn.Sequential]:
    """Build 3x3 convolutions, each with a norm and a ReLU behind it; without a norm, and on demand, with a bias."""
    layers = []
    for _ in range(num_convs):
        convolution = conv(2, channels, channels, kernel_size=3, bias=bias or norm is None)
        norms = [norm_layer(2, channels, norm)] if norm else []
        layers.append(nn.Sequential(convolution, *norms, nn.ReLU(inplace=True)))
    return layers
