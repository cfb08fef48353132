"""The ResNets for clips that torchvision publishes, and their deeper kin. Names are torchvision's.

A Closer Look at Spatiotemporal Convolutions for Action Recognition, Tran et al. 2018, https://arxiv.org/abs/1711.11248:

- r3d: convolutions over time and space
- mc3: those of the first stage only; behind it, every frame for itself
- r2plus1d: each convolution in two, within the frames and along the time
"""

from __future__ import annotations

from functools import partial

from torch import nn

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BasicBlock, BlockSpec
from vertebra.backbones.convolutions import frame_wise, matching_channels, spatial_then_temporal
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
    """MC3-18; it keeps every frame."""
    strides = (1, (1, 2, 2), (1, 2, 2), (1, 2, 2))
    return ResNet(_mixed_block, (2, 2, 2, 2), options, dim=3, stem=unpooled_stem, strides=strides)


def _mixed_block(place: BlockSpec) -> nn.Module:
    return BasicBlock(place) if place.stage == 0 else BasicBlock(place, convolution=frame_wise)


@register
def r2plus1d_18(options: BackboneOptions) -> ResNet:
    """R(2+1)D-18, with torchvision's widths: both convolutions of a block have the middle channels of its first."""
    return ResNet(_shared_middle_block, (2, 2, 2, 2), options, dim=3, stem=factored_clip_stem)


def _shared_middle_block(place: BlockSpec) -> nn.Module:
    middle = matching_channels(place.in_channels, place.width)
    return BasicBlock(place, convolution=partial(spatial_then_temporal, norm=place.norm, middle=middle))


@register
def r2plus1d_34(options: BackboneOptions) -> ResNet:
    """R(2+1)D-34, with the paper's widths, which the weights published for IG-65M have.

    Those weights were trained with 1e-3 added to the variances in the norms, not 1e-5 as here.
    """
    return ResNet(_factored_block, (3, 4, 6, 3), options, dim=3, stem=factored_clip_stem)


def _factored_block(place: BlockSpec) -> nn.Module:
    return BasicBlock(place, convolution=partial(spatial_then_temporal, norm=place.norm))
