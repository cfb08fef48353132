"""Pre-activation ResNets for ImageNet. Names are timm's; the letters are explained in `resnet_2d`.

Identity Mappings in Deep Residual Networks, He et al. 2016, https://arxiv.org/abs/1603.05027. C5 is taken after
the closing norm and ReLU, where timm's classifier pools; the finer maps are sums without an activation, as in timm.
"""

from __future__ import annotations

from functools import partial

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks_preact import PreActBasicBlock, PreActBottleneck, norm_and_relu
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.resnet_2d import tiered_stem
from vertebra.backbones.shortcuts import preact_average_projection
from vertebra.backbones.stems import deep_stem, plain_stem, without_norm

PreActResNet = partial(ResNet, stem=partial(without_norm, plain_stem), closing=norm_and_relu)
PreActResNetD = partial(ResNet, stem=partial(without_norm, deep_stem), closing=norm_and_relu)
PreActResNetT = partial(ResNet, stem=partial(without_norm, tiered_stem), closing=norm_and_relu)

basic_d = partial(PreActBasicBlock, shortcut=preact_average_projection)
bottleneck_d = partial(PreActBottleneck, shortcut=preact_average_projection)


@register
def resnetv2_18(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-18."""
    return PreActResNet(PreActBasicBlock, (2, 2, 2, 2), options)


@register
def resnetv2_34(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-34."""
    return PreActResNet(PreActBasicBlock, (3, 4, 6, 3), options)


@register
def resnetv2_50(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-50."""
    return PreActResNet(PreActBottleneck, (3, 4, 6, 3), options)


@register
def resnetv2_101(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-101."""
    return PreActResNet(PreActBottleneck, (3, 4, 23, 3), options)


@register
def resnetv2_152(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-152."""
    return PreActResNet(PreActBottleneck, (3, 8, 36, 3), options)


@register
def resnetv2_18d(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-18-D."""
    return PreActResNetD(basic_d, (2, 2, 2, 2), options)


@register
def resnetv2_34d(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-34-D."""
    return PreActResNetD(basic_d, (3, 4, 6, 3), options)


@register
def resnetv2_50d(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-50-D."""
    return PreActResNetD(bottleneck_d, (3, 4, 6, 3), options)


@register
def resnetv2_50t(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-50-T."""
    return PreActResNetT(bottleneck_d, (3, 4, 6, 3), options)


@register
def resnetv2_101d(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-101-D."""
    return PreActResNetD(bottleneck_d, (3, 4, 23, 3), options)


@register
def resnetv2_152d(options: BackboneOptions) -> ResNet:
    """Pre-activation ResNet-152-D."""
    return PreActResNetD(bottleneck_d, (3, 8, 36, 3), options)
