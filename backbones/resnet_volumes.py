"""The ResNets for volumes, which see depth, height and width alike.

- Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, Hara et al. 2018,
  https://arxiv.org/abs/1711.09577
- Med3D: Transfer Learning for 3D Medical Image Analysis, Chen et al. 2019, https://arxiv.org/abs/1904.00625, whose
  published weights (MedicalNet) load: with `in_channels=1`, and for 18 and 34 layers into the `a` variants. Here the
  last two stages stride, as in MONAI; Med3D's own segmentation network dilates them instead, with the same weights.

MONAI's weights load too. They are the same networks where MONAI builds with `conv1_t_stride=2`, as it does for
MedicalNet's weights; its default of 1 cannot be seen in a state dict, and is another network.

The letter a: shortcuts of option A of He et al. 2015, the identity with channels of zeros, without parameters.

The letter s: for small volumes, of 24 to 48 voxels a side: a 3x3x3 convolution in front and no pooling behind it, so
that twice as many cells come out along each axis, and half the channels, which keeps the cost at that of the others.
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
    """ResNet-18 for volumes, shortcuts without parameters."""
    return ResNet(partial(BasicBlock, shortcut=zero_padded), (2, 2, 2, 2), options, dim=3)


@register
def resnet18s_3d(options: BackboneOptions) -> ResNet:
    """ResNet-18 for small volumes, such as the 28 x 28 x 28 voxels of MedMNIST."""
    return ResNet(BasicBlock, (2, 2, 2, 2), options, dim=3, stem=_halving_stem, widths=SMALL_WIDTHS)


def _halving_stem(dim: int, in_channels: int, norm: Norm) -> Stem:
    stem = small_stem(dim, in_channels, norm, channels=SMALL_WIDTHS[0])
    conv1 = conv(dim, in_channels, SMALL_WIDTHS[0], kernel_size=3, stride=2)
    return stem._replace(conv1=conv1, reduction=(2,) * dim)


@register
def resnet34_3d(options: BackboneOptions) -> ResNet:
    """ResNet-34 for volumes."""
    return ResNet(BasicBlock, (3, 4, 6, 3), options, dim=3)


@register
def resnet34a_3d(options: BackboneOptions) -> ResNet:
    """ResNet-34 for volumes, shortcuts without parameters."""
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
