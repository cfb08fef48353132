"""The ResNets for images of 32 x 32 pixels, and what they are measured against. Three stages: C2, C3 and C4.

Names are the papers' depths. Option A shortcuts (zeros, no parameters) are the paper's for CIFAR; `_b` projects where
shapes differ, `_c` everywhere (up to 110 layers).

- resnet, plain: Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385
- resnetv2: Identity Mappings in Deep Residual Networks, He et al. 2016, https://arxiv.org/abs/1603.05027
- wrn: Wide Residual Networks, Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146; depth, width
- highway: Highway Networks, Srivastava et al. 2015, https://arxiv.org/abs/1505.00387; gates in the layout of the
  residual networks of the same depth, so that the two are compared like with like
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BasicBlock, BlockSpec
from vertebra.backbones.blocks_plain import HighwayBlock, PlainBlock
from vertebra.backbones.blocks_preact import PreActBasicBlock, PreActBottleneck, norm_and_relu
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.shortcuts import full_projection, zero_surrounded
from vertebra.backbones.stems import bare, small_stem

DEPTHS = (20, 32, 44, 56, 110, 1202)


def small_resnet(
    options: BackboneOptions, block: Callable[[BlockSpec], nn.Module], blocks: int, widen: int = 1
) -> ResNet:
    """Build three stages of `blocks` blocks."""
    widths = (16 * widen, 32 * widen, 64 * widen)
    return ResNet(block, (blocks,) * 3, options, stem=small_stem, widths=widths, strides=(1, 2, 2))


def small_preact(
    options: BackboneOptions, block: Callable[[BlockSpec], nn.Module], blocks: int, widen: int = 1
) -> ResNet:
    """Build three stages of `blocks` pre-activation blocks."""
    widths = (16 * widen, 32 * widen, 64 * widen)
    stem = partial(bare, small_stem)
    return ResNet(block, (blocks,) * 3, options, stem=stem, widths=widths, strides=(1, 2, 2), closing=norm_and_relu)


# a layer in front, one behind, and in each of three stages the layers of its blocks
for depth in DEPTHS:
    of_pairs = (depth - 2) // 6
    for suffix, block in (
        ("", partial(BasicBlock, shortcut=zero_surrounded)),
        ("_b", BasicBlock),
        ("_c", partial(BasicBlock, shortcut=full_projection)),
    ):
        if depth < 1202 or suffix != "_c":  # the gradients of 600 projections in a row overflow single precision
            register(partial(small_resnet, block=block, blocks=of_pairs), f"resnet{depth}{suffix}")
    if depth < 1202:
        register(partial(small_resnet, block=PlainBlock, blocks=of_pairs), f"plain{depth}")
        register(partial(small_resnet, block=HighwayBlock, blocks=2 * of_pairs), f"highway{depth}")

register(partial(small_preact, block=PreActBasicBlock, blocks=18), "resnetv2_110")
register(partial(small_preact, block=PreActBottleneck, blocks=18), "resnetv2_164")
register(partial(small_preact, block=PreActBottleneck, blocks=111), "resnetv2_1001")

register(partial(small_preact, block=PreActBasicBlock, blocks=4, widen=10), "wrn_28_10")
register(partial(small_preact, block=PreActBasicBlock, blocks=6, widen=4), "wrn_40_4")
register(partial(small_preact, block=PreActBasicBlock, blocks=2, widen=8), "wrn_16_8")


@register
def plain18(options: BackboneOptions) -> ResNet:
    """ResNet-18 without its shortcuts, for images of ImageNet's size."""
    return ResNet(PlainBlock, (2, 2, 2, 2), options)


@register
def plain34(options: BackboneOptions) -> ResNet:
    """ResNet-34 without its shortcuts, for images of ImageNet's size."""
    return ResNet(PlainBlock, (3, 4, 6, 3), options)
