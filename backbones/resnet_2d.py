"""The ResNets for images. Names are timm's and torchvision's."""

from __future__ import annotations

from backbones.backbone import BackboneOptions
from backbones.blocks import BasicBlock, Bottleneck
from backbones.registry import register
from backbones.resnet import ResNet


@register
def resnet18(options: BackboneOptions) -> ResNet:
    """ResNet-18, He et al. 2015."""
    return ResNet(BasicBlock, (2, 2, 2, 2), options)


@register
def resnet34(options: BackboneOptions) -> ResNet:
    """ResNet-34, He et al. 2015."""
    return ResNet(BasicBlock, (3, 4, 6, 3), options)


@register
def resnet50(options: BackboneOptions) -> ResNet:
    """ResNet-50, He et al. 2015, with the stride on the 3x3 convolution."""
    return ResNet(Bottleneck, (3, 4, 6, 3), options)


@register
def resnet101(options: BackboneOptions) -> ResNet:
    """ResNet-101, He et al. 2015, with the stride on the 3x3 convolution."""
    return ResNet(Bottleneck, (3, 4, 23, 3), options)


@register
def resnet152(options: BackboneOptions) -> ResNet:
    """ResNet-152, He et al. 2015, with the stride on the 3x3 convolution."""
    return ResNet(Bottleneck, (3, 8, 36, 3), options)
