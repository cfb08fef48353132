"""ResNets for clips as published by torchvision, and a deeper one. Names are torchvision's.

A Closer Look at Spatiotemporal Convolutions for Action Recognition, Tran et al. 2018, https://arxiv.org/abs/1711.11248:

- r3d: 3-D convolutions
- mc3: 3-D convolutions in the first stage, and 2-D ones after it
- r2plus1d: each 3-D convolution factored into a spatial and a temporal one
"""

from __future__ import annotations

from functools import partial

from torch import nn

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BasicBlock, BlockSpec
from vertebra.backbones.convolutions import matching_channels, spatial_conv, spatial_then_temporal
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.stems import clip_stem, factored_clip_stem

unpooled_stem = partial(clip_stem, pooled=False)


@register
def r3d_18(options: BackboneOptions) -> ResNet:
    """R3D-18."""
    return ResNet(BasicBlock, (2, 2, 2, 2), options, dim=3, stem=unpooled_stem)


@register
def mc3_18(options: BackboneOptions) -> ResNet:
    """MC3-18, which has no temporal stride."""
    strides = (1, (1, 2, 2), (1, 2, 2), (1, 2, 2))
    return ResNet(_mixed_block, (2, 2, 2, 2), options, dim=3, stem=unpooled_stem, strides=strides)


def _mixed_block(spec: BlockSpec) -> nn.Module:
    return BasicBlock(spec) if spec.stage == 0 else BasicBlock(spec, convolution=spatial_conv)


@register
def r2plus1d_18(options: BackboneOptions) -> ResNet:
    """R(2+1)D-18 with torchvision's widths: both convolutions of a block have the middle channels of the first."""
    return ResNet(_shared_middle_block, (2, 2, 2, 2), options, dim=3, stem=factored_clip_stem)


def _shared_middle_block(spec: BlockSpec) -> nn.Module:
    middle = matching_channels(spec.in_channels, spec.width)
    return BasicBlock(spec, convolution=partial(spatial_then_temporal, norm=spec.norm, middle=middle))


@register
def r2plus1d_34(options: BackboneOptions) -> ResNet:
    """R(2+1)D-34 with the paper's widths, as in the published IG-65M weights.

    Those weights were trained with an epsilon of 1e-3 in the norms, not 1e-5 as here.
    """
    return ResNet(_factored_block, (3, 4, 6, 3), options, dim=3, stem=factored_clip_stem)


def _factored_block(spec: BlockSpec) -> nn.Module:
    return BasicBlock(spec, convolution=partial(spatial_then_temporal, norm=spec.norm))
