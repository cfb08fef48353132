"""ResNets for CIFAR (32 x 32 pixels) and their baselines, with three stages: C2, C3 and C4.

Names are the papers' depths. Shortcuts are the paper's option A (zero padding, no parameters); `_b` projects where
shapes differ, `_c` everywhere (up to 110 layers).

- resnet, plain: Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385
- resnetv2: Identity Mappings in Deep Residual Networks, He et al. 2016, https://arxiv.org/abs/1603.05027
- wrn: Wide Residual Networks, Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146; depth, width
- highway: Highway Networks, Srivastava et al. 2015, https://arxiv.org/abs/1505.00387; gates in the layout of the
  residual networks of the same depth, for a like-for-like comparison
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
from vertebra.backbones.shortcuts import centered_zero_padded, full_projection
from vertebra.backbones.stems import small_stem, without_norm

DEPTHS = (20, 32, 44, 56, 110, 1202)


def small_resnet(
    options: BackboneOptions, block: Callable[[BlockSpec], nn.Module], blocks: int, widen: int = 1
) -> ResNet:
    """Build a network of three stages with `blocks` blocks each."""
    widths = (16 * widen, 32 * widen, 64 * widen)
    return ResNet(block, (blocks,) * 3, options, stem=small_stem, widths=widths, strides=(1, 2, 2))


def small_preact(
    options: BackboneOptions, block: Callable[[BlockSpec], nn.Module], blocks: int, widen: int = 1
) -> ResNet:
    """Build a network of three stages with `blocks` pre-activation blocks each."""
    widths = (16 * widen, 32 * widen, 64 * widen)
    stem = partial(without_norm, small_stem)
    return ResNet(block, (blocks,) * 3, options, stem=stem, widths=widths, strides=(1, 2, 2), closing=norm_and_relu)


# depth counts the first convolution, the classifier, and in each of three stages two layers a block
for depth in DEPTHS:
    num_blocks = (depth - 2) // 6
    for suffix, block in (
        ("", partial(BasicBlock, shortcut=centered_zero_padded)),
        ("_b", BasicBlock),
        ("_c", partial(BasicBlock, shortcut=full_projection)),
    ):
        if depth < 1202 or suffix != "_c":  # gradients of 600 projections in a row overflow float32
            register(partial(small_resnet, block=block, blocks=num_blocks), f"resnet{depth}{suffix}")
    if depth < 1202:
        register(partial(small_resnet, block=PlainBlock, blocks=num_blocks), f"plain{depth}")
        register(partial(small_resnet, block=HighwayBlock, blocks=2 * num_blocks), f"highway{depth}")

register(partial(small_preact, block=PreActBasicBlock, blocks=18), "resnetv2_110")
register(partial(small_preact, block=PreActBottleneck, blocks=18), "resnetv2_164")
register(partial(small_preact, block=PreActBottleneck, blocks=111), "resnetv2_1001")

register(partial(small_preact, block=PreActBasicBlock, blocks=4, widen=10), "wrn_28_10")
register(partial(small_preact, block=PreActBasicBlock, blocks=6, widen=4), "wrn_40_4")
register(partial(small_preact, block=PreActBasicBlock, blocks=2, widen=8), "wrn_16_8")


@register
def plain18(options: BackboneOptions) -> ResNet:
    """ResNet-18 without its shortcuts, for ImageNet."""
    return ResNet(PlainBlock, (2, 2, 2, 2), options)


@register
def plain34(options: BackboneOptions) -> ResNet:
    """ResNet-34 without its shortcuts, for ImageNet."""
    return ResNet(PlainBlock, (3, 4, 6, 3), options)
