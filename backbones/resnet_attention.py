"""ResNets for images with channel attention. Names are timm's; the letters are explained in `resnet_2d`.

- se: Squeeze-and-Excitation Networks, Hu et al. 2017, https://arxiv.org/abs/1709.01507
- rs: Revisiting ResNets, Bello et al. 2021, https://arxiv.org/abs/2103.07579
"""

from __future__ import annotations

from functools import partial

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.resnet_2d import tiered_stem
from vertebra.backbones.shortcuts import average_projection
from vertebra.backbones.stems import deep_stem

SQUEEZE = 1 / 16

learned_stem = partial(deep_stem, learned_pool=True)


@register
def seresnet18(options: BackboneOptions) -> ResNet:
    """SE-ResNet-18."""
    return ResNet(partial(BasicBlock, squeeze=SQUEEZE), (2, 2, 2, 2), options)


@register
def seresnet34(options: BackboneOptions) -> ResNet:
    """SE-ResNet-34."""
    return ResNet(partial(BasicBlock, squeeze=SQUEEZE), (3, 4, 6, 3), options)


@register
def seresnet50(options: BackboneOptions) -> ResNet:
    """SE-ResNet-50."""
    return ResNet(partial(Bottleneck, squeeze=SQUEEZE), (3, 4, 6, 3), options)


@register
def seresnet101(options: BackboneOptions) -> ResNet:
    """SE-ResNet-101."""
    return ResNet(partial(Bottleneck, squeeze=SQUEEZE), (3, 4, 23, 3), options)


@register
def seresnet152(options: BackboneOptions) -> ResNet:
    """SE-ResNet-152."""
    return ResNet(partial(Bottleneck, squeeze=SQUEEZE), (3, 8, 36, 3), options)


@register
def seresnet152d(options: BackboneOptions) -> ResNet:
    """SE-ResNet-152-D."""
    return ResNet(
        partial(Bottleneck, squeeze=SQUEEZE, shortcut=average_projection), (3, 8, 36, 3), options, stem=deep_stem
    )


@register
def seresnet200d(options: BackboneOptions) -> ResNet:
    """SE-ResNet-200-D."""
    return ResNet(
        partial(Bottleneck, squeeze=SQUEEZE, shortcut=average_projection), (3, 24, 36, 3), options, stem=deep_stem
    )


@register
def seresnet269d(options: BackboneOptions) -> ResNet:
    """SE-ResNet-269-D."""
    return ResNet(
        partial(Bottleneck, squeeze=SQUEEZE, shortcut=average_projection), (3, 30, 48, 8), options, stem=deep_stem
    )


@register
def seresnet50t(options: BackboneOptions) -> ResNet:
    """SE-ResNet-50-T."""
    return ResNet(
        partial(Bottleneck, squeeze=SQUEEZE, shortcut=average_projection), (3, 4, 6, 3), options, stem=tiered_stem
    )


@register
def seresnext50_32x4d(options: BackboneOptions) -> ResNet:
    """SE-ResNeXt-50, 32 groups of width 4."""
    return ResNet(partial(Bottleneck, groups=32, base_width=4, squeeze=SQUEEZE), (3, 4, 6, 3), options)


@register
def seresnext101_32x4d(options: BackboneOptions) -> ResNet:
    """SE-ResNeXt-101, 32 groups of width 4."""
    return ResNet(partial(Bottleneck, groups=32, base_width=4, squeeze=SQUEEZE), (3, 4, 23, 3), options)


@register
def seresnext101_32x8d(options: BackboneOptions) -> ResNet:
    """SE-ResNeXt-101, 32 groups of width 8."""
    return ResNet(partial(Bottleneck, groups=32, base_width=8, squeeze=SQUEEZE), (3, 4, 23, 3), options)


@register
def seresnext101_64x4d(options: BackboneOptions) -> ResNet:
    """SE-ResNeXt-101, 64 groups of width 4."""
    return ResNet(partial(Bottleneck, groups=64, base_width=4, squeeze=SQUEEZE), (3, 4, 23, 3), options)


@register
def seresnext26d_32x4d(options: BackboneOptions) -> ResNet:
    """SE-ResNeXt-26-D."""
    return ResNet(
        partial(Bottleneck, groups=32, base_width=4, squeeze=SQUEEZE, shortcut=average_projection),
        (2, 2, 2, 2),
        options,
        stem=deep_stem,
    )


@register
def seresnext26t_32x4d(options: BackboneOptions) -> ResNet:
    """SE-ResNeXt-26-T."""
    return ResNet(
        partial(Bottleneck, groups=32, base_width=4, squeeze=SQUEEZE, shortcut=average_projection),
        (2, 2, 2, 2),
        options,
        stem=tiered_stem,
    )


@register
def seresnext101d_32x8d(options: BackboneOptions) -> ResNet:
    """SE-ResNeXt-101-D."""
    return ResNet(
        partial(Bottleneck, groups=32, base_width=8, squeeze=SQUEEZE, shortcut=average_projection),
        (3, 4, 23, 3),
        options,
        stem=deep_stem,
    )


@register
def resnetrs50(options: BackboneOptions) -> ResNet:
    """ResNet-RS-50."""
    return ResNet(
        partial(Bottleneck, squeeze=0.25, shortcut=average_projection), (3, 4, 6, 3), options, stem=learned_stem
    )


@register
def resnetrs101(options: BackboneOptions) -> ResNet:
    """ResNet-RS-101."""
    return ResNet(
        partial(Bottleneck, squeeze=0.25, shortcut=average_projection), (3, 4, 23, 3), options, stem=learned_stem
    )


@register
def resnetrs152(options: BackboneOptions) -> ResNet:
    """ResNet-RS-152."""
    return ResNet(
        partial(Bottleneck, squeeze=0.25, shortcut=average_projection), (3, 8, 36, 3), options, stem=learned_stem
    )


@register
def resnetrs200(options: BackboneOptions) -> ResNet:
    """ResNet-RS-200."""
    return ResNet(
        partial(Bottleneck, squeeze=0.25, shortcut=average_projection), (3, 24, 36, 3), options, stem=learned_stem
    )


@register
def resnetrs270(options: BackboneOptions) -> ResNet:
    """ResNet-RS-270."""
    return ResNet(
        partial(Bottleneck, squeeze=0.25, shortcut=average_projection), (4, 29, 53, 4), options, stem=learned_stem
    )


@register
def resnetrs350(options: BackboneOptions) -> ResNet:
    """ResNet-RS-350."""
    return ResNet(
        partial(Bottleneck, squeeze=0.25, shortcut=average_projection), (4, 36, 72, 4), options, stem=learned_stem
    )


@register
def resnetrs420(options: BackboneOptions) -> ResNet:
    """ResNet-RS-420."""
    return ResNet(
        partial(Bottleneck, squeeze=0.25, shortcut=average_projection), (4, 44, 87, 4), options, stem=learned_stem
    )
