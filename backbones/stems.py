"""Stems: the layers before the first stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from vertebra.backbones.convolutions import spatial_then_temporal
from vertebra.backbones.frozen_norms import Chain
from vertebra.backbones.layers import Norm, conv, max_pool, norm_layer


class Stem(NamedTuple):
    """Layers of a stem, in order.

    Attributes:
        conv1: one convolution or several.
        bn1: the norm after it.
        relu: the activation after the norm.
        maxpool: the pooling, or a strided convolution or an identity under the name that published weights have.
        channels: of the output.
        reduction: input pixels to one output pixel, for each axis.
    """

    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    channels: int
    reduction: tuple[int, ...]


def plain_stem(dim: int, in_channels: int, norm: Norm, channels: int = 64) -> Stem:
    """Build the original stem: a 7x7 convolution and max pooling (He et al. 2015)."""
    conv1 = conv(dim, in_channels, channels, kernel_size=7, stride=2)
    pool = max_pool(dim, kernel_size=3, stride=2)
    return Stem(conv1, norm_layer(dim, channels, norm), nn.ReLU(inplace=True), pool, channels, (4,) * dim)


def small_stem(dim: int, in_channels: int, norm: Norm, channels: int = 16) -> Stem:
    """Build the CIFAR stem: a 3x3 convolution with stride 1 (He et al. 2015)."""
    conv1 = conv(dim, in_channels, channels, kernel_size=3)
    return Stem(conv1, norm_layer(dim, channels, norm), nn.ReLU(inplace=True), nn.Identity(), channels, (1,) * dim)


def without_norm(stem: Callable[[int, int, Norm], Stem], dim: int, in_channels: int, norm: Norm) -> Stem:
    """Build a stem without its last norm and activation, with which the first pre-activation block begins."""
    return stem(dim, in_channels, norm)._replace(bn1=nn.Identity(), relu=nn.Identity())


def deep_stem(
    dim: int, in_channels: int, norm: Norm, widths: tuple[int, int, int] = (32, 32, 64), learned_pool: bool = False
) -> Stem:
    """Build a deep stem: three 3x3 convolutions instead of one 7x7.

    ResNet-C of Bag of Tricks for Image Classification, He et al. 2018, https://arxiv.org/abs/1812.01187.

    Args:
        dim: 2 for images, 3 for clips and volumes.
        in_channels: channels of the input.
        norm: see `BackboneOptions`.
        widths: channels of the three convolutions.
        learned_pool: a strided convolution instead of max pooling, as in Revisiting ResNets (Bello et al. 2021,
            https://arxiv.org/abs/2103.07579).
    """
    first, second, channels = widths
    conv1 = Chain(
        conv(dim, in_channels, first, kernel_size=3, stride=2),
        norm_layer(dim, first, norm),
        nn.ReLU(inplace=True),
        conv(dim, first, second, kernel_size=3),
        norm_layer(dim, second, norm),
        nn.ReLU(inplace=True),
        conv(dim, second, channels, kernel_size=3),
    )
    pool = max_pool(dim, kernel_size=3, stride=2)
    if learned_pool:
        pool = Chain(
            conv(dim, channels, channels, kernel_size=3, stride=2),
            norm_layer(dim, channels, norm),
            nn.ReLU(inplace=True),
        )
    return Stem(conv1, norm_layer(dim, channels, norm), nn.ReLU(inplace=True), pool, channels, (4,) * dim)


def clip_stem(dim: int, in_channels: int, norm: Norm, frames: int = 3, channels: int = 64, pooled: bool = True) -> Stem:
    """Build a stem for clips, without a stride along time.

    Args:
        dim: 3.
        in_channels: channels of the input.
        norm: see `BackboneOptions`.
        frames: temporal kernel size of the 7x7 convolution.
        channels: of the output.
        pooled: halve height and width a second time, by max pooling.
    """
    conv1 = conv(dim, in_channels, channels, kernel_size=(frames, 7, 7), stride=(1, 2, 2))
    pool = max_pool(dim, kernel_size=(1, 3, 3), stride=(1, 2, 2)) if pooled else nn.Identity()
    reduction = (1, 4, 4) if pooled else (1, 2, 2)
    return Stem(conv1, norm_layer(dim, channels, norm), nn.ReLU(inplace=True), pool, channels, reduction)


def factored_clip_stem(dim: int, in_channels: int, norm: Norm) -> Stem:
    """Build the (2+1)-D stem of R(2+1)D (Tran et al. 2018): 7x7 in space, then 3 along time; no pooling."""
    # 45 channels between the two match the number of weights of a 3x7x7 convolution on 3 channels
    conv1 = spatial_then_temporal(dim, in_channels, 64, (3, 7, 7), stride=(1, 2, 2), norm=norm, middle=45)
    return Stem(conv1, norm_layer(dim, 64, norm), nn.ReLU(inplace=True), nn.Identity(), 64, (1, 2, 2))
