"""ResNets for volumes, with isotropic kernels and strides.

- Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, Hara et al. 2018,
  https://arxiv.org/abs/1711.09577
- Med3D: Transfer Learning for 3D Medical Image Analysis, Chen et al. 2019, https://arxiv.org/abs/1904.00625, whose
  published weights (MedicalNet) load with `in_channels=1`, for 18 and 34 layers into the `a` variants. The last two
  stages stride, as in MONAI; Med3D's segmentation network dilates them instead, with the same weights.

MONAI's weights load too. The networks are the same where MONAI sets `conv1_t_stride=2`, as it does for MedicalNet's
weights; its default of 1 is another network, with an identical state dict.

The letter a: shortcuts of option A of He et al. 2015 (zero padding, no parameters).

The letter s: for small volumes of 24 to 48 voxels a side: the stem is a 3x3x3 convolution without pooling, so that maps
are twice as long along each axis, and widths are halved to limit the cost.
"""

from __future__ import annotations

from functools import partial

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.layers import Norm, conv
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.shortcuts import zero_padded
from vertebra.backbones.stems import Stem, small_stem

SMALL_WIDTHS = (32, 64, 128, 256)


@register
def resnet10_3d(options: BackboneOptions) -> ResNet:
    """ResNet-10 for volumes."""
    return ResNet(BasicBlock, (1, 1, 1, 1), options, dim=3)


@register
def resnet18_3d(options: BackboneOptions) -> ResNet:
    """ResNet-18 for volumes."""
    return ResNet(BasicBlock, (2, 2, 2, 2), options, dim=3)


@register
def resnet18a_3d(options: BackboneOptions) -> ResNet:
    """ResNet-18 for volumes, with parameter-free shortcuts."""
    return ResNet(partial(BasicBlock, shortcut=zero_padded), (2, 2, 2, 2), options, dim=3)


@register
def resnet18s_3d(options: BackboneOptions) -> ResNet:
    """ResNet-18 for small volumes, such as the 28 x 28 x 28 voxels of MedMNIST."""
    return ResNet(BasicBlock, (2, 2, 2, 2), options, dim=3, stem=_unpooled_stem, widths=SMALL_WIDTHS)


def _unpooled_stem(dim: int, in_channels: int, norm: Norm) -> Stem:
    stem = small_stem(dim, in_channels, norm, channels=SMALL_WIDTHS[0])
    conv1 = conv(dim, in_channels, SMALL_WIDTHS[0], kernel_size=3, stride=2)
    return stem._replace(conv1=conv1, reduction=(2,) * dim)


@register
def resnet34_3d(options: BackboneOptions) -> ResNet:
    """ResNet-34 for volumes."""
    return ResNet(BasicBlock, (3, 4, 6, 3), options, dim=3)


@register
def resnet34a_3d(options: BackboneOptions) -> ResNet:
    """ResNet-34 for volumes, with parameter-free shortcuts."""
    return ResNet(partial(BasicBlock, shortcut=zero_padded), (3, 4, 6, 3), options, dim=3)


@register
def resnet50_3d(options: BackboneOptions) -> ResNet:
    """ResNet-50 for volumes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), options, dim=3)


@register
def resnet101_3d(options: BackboneOptions) -> ResNet:
    """ResNet-101 for volumes."""
    return ResNet(Bottleneck, (3, 4, 23, 3), options, dim=3)


@register
def resnet152_3d(options: BackboneOptions) -> ResNet:
    """ResNet-152 for volumes."""
    return ResNet(Bottleneck, (3, 8, 36, 3), options, dim=3)


@register
def resnet200_3d(options: BackboneOptions) -> ResNet:
    """ResNet-200 for volumes."""
    return ResNet(Bottleneck, (3, 24, 36, 3), options, dim=3)
