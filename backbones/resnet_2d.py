"""ResNets for images. Names are timm's and torchvision's.

Papers, by the letters in the names:

- none: Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385
- C, D: Bag of Tricks for Image Classification, He et al. 2018, https://arxiv.org/abs/1812.01187; C has a deep
  stem (three 3x3 convolutions), D average pooling in its shortcuts besides; S is C with a stem twice as wide, T is D
  with a tiered stem (24, 32, 64 channels)
- VD of 18 and 34: D with a projection shortcut in the first block of every stage, as in PaddlePaddle and RT-DETR
  (Zhao et al. 2023, https://arxiv.org/abs/2304.08069); with bottlenecks it equals D
- wide: Wide Residual Networks, Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146
- next: Aggregated Residual Transformations, Xie et al. 2016, https://arxiv.org/abs/1611.05431; groups x width
"""

from __future__ import annotations

from functools import partial

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BasicBlock, BlockSpec, Bottleneck
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.shortcuts import average_projection, full_average_projection
from vertebra.backbones.stems import deep_stem

wide_stem = partial(deep_stem, widths=(64, 64, 128))
tiered_stem = partial(deep_stem, widths=(24, 32, 64))


def projected_block(place: BlockSpec) -> BasicBlock:
    """Build a block of ResNet-VD, which projects in the first block of every stage."""
    return BasicBlock(place, shortcut=average_projection if place.number else full_average_projection)


@register
def resnet18(options: BackboneOptions) -> ResNet:
    """ResNet-18."""
    return ResNet(BasicBlock, (2, 2, 2, 2), options)


@register
def resnet34(options: BackboneOptions) -> ResNet:
    """ResNet-34."""
    return ResNet(BasicBlock, (3, 4, 6, 3), options)


@register
def resnet26(options: BackboneOptions) -> ResNet:
    """ResNet-26."""
    return ResNet(Bottleneck, (2, 2, 2, 2), options)


@register
def resnet50(options: BackboneOptions) -> ResNet:
    """ResNet-50."""
    return ResNet(Bottleneck, (3, 4, 6, 3), options)


@register
def resnet101(options: BackboneOptions) -> ResNet:
    """ResNet-101."""
    return ResNet(Bottleneck, (3, 4, 23, 3), options)


@register
def resnet152(options: BackboneOptions) -> ResNet:
    """ResNet-152."""
    return ResNet(Bottleneck, (3, 8, 36, 3), options)


@register
def resnet200(options: BackboneOptions) -> ResNet:
    """ResNet-200."""
    return ResNet(Bottleneck, (3, 24, 36, 3), options)


@register
def resnet50c(options: BackboneOptions) -> ResNet:
    """ResNet-50-C."""
    return ResNet(Bottleneck, (3, 4, 6, 3), options, stem=deep_stem)


@register
def resnet101c(options: BackboneOptions) -> ResNet:
    """ResNet-101-C."""
    return ResNet(Bottleneck, (3, 4, 23, 3), options, stem=deep_stem)


@register
def resnet152c(options: BackboneOptions) -> ResNet:
    """ResNet-152-C."""
    return ResNet(Bottleneck, (3, 8, 36, 3), options, stem=deep_stem)


@register
def resnet18d(options: BackboneOptions) -> ResNet:
    """ResNet-18-D."""
    return ResNet(partial(BasicBlock, shortcut=average_projection), (2, 2, 2, 2), options, stem=deep_stem)


@register
def resnet34d(options: BackboneOptions) -> ResNet:
    """ResNet-34-D."""
    return ResNet(partial(BasicBlock, shortcut=average_projection), (3, 4, 6, 3), options, stem=deep_stem)


@register
def resnet18vd(options: BackboneOptions) -> ResNet:
    """ResNet-18-VD."""
    return ResNet(projected_block, (2, 2, 2, 2), options, stem=deep_stem)


@register
def resnet34vd(options: BackboneOptions) -> ResNet:
    """ResNet-34-VD."""
    return ResNet(projected_block, (3, 4, 6, 3), options, stem=deep_stem)


@register
def resnet26d(options: BackboneOptions) -> ResNet:
    """ResNet-26-D."""
    return ResNet(partial(Bottleneck, shortcut=average_projection), (2, 2, 2, 2), options, stem=deep_stem)


@register
def resnet50d(options: BackboneOptions) -> ResNet:
    """ResNet-50-D."""
    return ResNet(partial(Bottleneck, shortcut=average_projection), (3, 4, 6, 3), options, stem=deep_stem)


@register
def resnet101d(options: BackboneOptions) -> ResNet:
    """ResNet-101-D."""
    return ResNet(partial(Bottleneck, shortcut=average_projection), (3, 4, 23, 3), options, stem=deep_stem)


@register
def resnet152d(options: BackboneOptions) -> ResNet:
    """ResNet-152-D."""
    return ResNet(partial(Bottleneck, shortcut=average_projection), (3, 8, 36, 3), options, stem=deep_stem)


@register
def resnet200d(options: BackboneOptions) -> ResNet:
    """ResNet-200-D."""
    return ResNet(partial(Bottleneck, shortcut=average_projection), (3, 24, 36, 3), options, stem=deep_stem)


@register
def resnet50s(options: BackboneOptions) -> ResNet:
    """ResNet-50-S."""
    return ResNet(Bottleneck, (3, 4, 6, 3), options, stem=wide_stem)


@register
def resnet101s(options: BackboneOptions) -> ResNet:
    """ResNet-101-S."""
    return ResNet(Bottleneck, (3, 4, 23, 3), options, stem=wide_stem)


@register
def resnet152s(options: BackboneOptions) -> ResNet:
    """ResNet-152-S."""
    return ResNet(Bottleneck, (3, 8, 36, 3), options, stem=wide_stem)


@register
def resnet26t(options: BackboneOptions) -> ResNet:
    """ResNet-26-T."""
    return ResNet(partial(Bottleneck, shortcut=average_projection), (2, 2, 2, 2), options, stem=tiered_stem)


@register
def resnet50t(options: BackboneOptions) -> ResNet:
    """ResNet-50-T."""
    return ResNet(partial(Bottleneck, shortcut=average_projection), (3, 4, 6, 3), options, stem=tiered_stem)


@register
def wide_resnet50_2(options: BackboneOptions) -> ResNet:
    """Wide ResNet-50-2: 3x3 convolutions of twice the width."""
    return ResNet(partial(Bottleneck, base_width=128), (3, 4, 6, 3), options)


@register
def wide_resnet101_2(options: BackboneOptions) -> ResNet:
    """Wide ResNet-101-2: 3x3 convolutions of twice the width."""
    return ResNet(partial(Bottleneck, base_width=128), (3, 4, 23, 3), options)


@register
def resnext50_32x4d(options: BackboneOptions) -> ResNet:
    """ResNeXt-50, 32 groups of width 4."""
    return ResNet(partial(Bottleneck, groups=32, base_width=4), (3, 4, 6, 3), options)


@register
def resnext101_32x4d(options: BackboneOptions) -> ResNet:
    """ResNeXt-101, 32 groups of width 4."""
    return ResNet(partial(Bottleneck, groups=32, base_width=4), (3, 4, 23, 3), options)


@register
def resnext101_32x8d(options: BackboneOptions) -> ResNet:
    """ResNeXt-101, 32 groups of width 8."""
    return ResNet(partial(Bottleneck, groups=32, base_width=8), (3, 4, 23, 3), options)


@register
def resnext101_64x4d(options: BackboneOptions) -> ResNet:
    """ResNeXt-101, 64 groups of width 4."""
    return ResNet(partial(Bottleneck, groups=64, base_width=4), (3, 4, 23, 3), options)


@register
def resnext50d_32x4d(options: BackboneOptions) -> ResNet:
    """ResNeXt-50-D, 32 groups of width 4."""
    return ResNet(
        partial(Bottleneck, groups=32, base_width=4, shortcut=average_projection), (3, 4, 6, 3), options, stem=deep_stem
    )
