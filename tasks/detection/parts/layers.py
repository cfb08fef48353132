"""Layers that several heads are made of."""

from __future__ import annotations

import math

from torch import nn

from vertebra.backbones.frozen_norms import Chain
from vertebra.backbones.layers import Norm, conv, norm_layer

PRIOR = 0.01  # probability of each class at the start, so that the many negatives do not drown the first steps


def start_at_prior(layer: nn.Conv2d | nn.Linear) -> None:
    """Set the bias of logits so that every class starts with the probability `PRIOR`, as in RetinaNet."""
    if layer.bias is not None:
        nn.init.constant_(layer.bias, math.log(PRIOR / (1 - PRIOR)))


def initialize_head(head: nn.Module, logits: nn.Conv2d) -> None:
    """Initialize the convolutions of a head by a deviation of 0.01, and its class `logits` at the prior."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    start_at_prior(logits)


def conv_stack(channels: int, num_convs: int, norm: Norm | None, bias: bool = False) -> list[Chain]:
    """Build 3x3 convolutions, each with a norm and a ReLU behind it; without a norm, and on demand, with a bias."""
    layers = []
    for _ in range(num_convs):
        convolution = conv(2, channels, channels, kernel_size=3, bias=bias or norm is None)
        norms = [norm_layer(2, channels, norm)] if norm else []
        layers.append(Chain(convolution, *norms, nn.ReLU(inplace=True)))
    return layers
