"""The networks by name: each puts its decoder on any 2-D backbone. `options` are those of `assemble`."""

from __future__ import annotations

from functools import partial
from typing import Any

from vertebra.backbones import Backbone
from vertebra.tasks.segmentation.deeplab import DeepLabV3, DeepLabV3Plus
from vertebra.tasks.segmentation.fcn import FCNScores
from vertebra.tasks.segmentation.pyramid_pooling import PSPNet, UPerNet
from vertebra.tasks.segmentation.segmenter import LevelDecoder, Segmenter, assemble
from vertebra.tasks.segmentation.semantic_fpn import SemanticFPN
from vertebra.tasks.segmentation.unet import UNet


def deeplabv3(
    backbone: str | Backbone, num_classes: int, *, output_stride: int = 8, channels: int = 256, **options: Any
) -> Segmenter:
    """Assemble DeepLabV3; with `resnet50` and `aux` it is torchvision's `deeplabv3_resnet50`.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        output_stride: for a backbone given by name: 8, or 16 for a third of the time.
        channels: of ASPP.
        options: see `assemble`.
    """
    decoder = partial(DeepLabV3, channels=channels)
    return assemble(decoder, backbone, num_classes, output_stride=output_stride, **options)


def deeplabv3plus(
    backbone: str | Backbone,
    num_classes: int,
    *,
    output_stride: int = 16,
    channels: int = 256,
    separable: bool = True,
    **options: Any,
) -> Segmenter:
    """Assemble DeepLabV3+.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        output_stride: for a backbone given by name: 16, or 8 for finer borders at three times the cost.
        channels: of ASPP and of the decoder.
        separable: depthwise and pointwise instead of full 3x3 convolutions.
        options: see `assemble`.
    """
    decoder = partial(DeepLabV3Plus, channels=channels, separable=separable)
    return assemble(decoder, backbone, num_classes, output_stride=output_stride, **options)


def fcn(backbone: str | Backbone, num_classes: int, *, output_stride: int = 8, **options: Any) -> Segmenter:
    """Assemble a fully convolutional network with one 3x3 convolution; with `resnet50` it is `fcn_resnet50`.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        output_stride: for a backbone given by name.
        options: see `assemble`.
    """
    return assemble(_on_the_last, backbone, num_classes, output_stride=output_stride, **options)


def fcn_scores(backbone: str | Backbone, num_classes: int, *, num_levels: int = 3, **options: Any) -> Segmenter:
    """Assemble FCN-32s, FCN-16s or FCN-8s, which add the scores of one, two or three levels.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        num_levels: 1, 2 or 3.
        options: see `assemble`; there is no layer behind the sum, so `drop_rate` touches the auxiliary head alone.
    """
    decoder = partial(_scores, num_levels=num_levels, num_classes=num_classes)
    return assemble(decoder, backbone, num_classes, **options)


def pspnet(
    backbone: str | Backbone, num_classes: int, *, output_stride: int = 8, channels: int = 512, **options: Any
) -> Segmenter:
    """Assemble PSPNet.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        output_stride: for a backbone given by name.
        channels: behind the pyramid pooling.
        options: see `assemble`.
    """
    return assemble(partial(PSPNet, channels=channels), backbone, num_classes, output_stride=output_stride, **options)


def semantic_fpn(backbone: str | Backbone, num_classes: int, *, channels: int = 128, **options: Any) -> Segmenter:
    """Assemble Semantic FPN.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        channels: of the decoder; the feature pyramid has twice as many.
        options: see `assemble`.
    """
    decoder = partial(SemanticFPN, pyramid_channels=2 * channels, channels=channels)
    return assemble(decoder, backbone, num_classes, **options)


def upernet(backbone: str | Backbone, num_classes: int, *, channels: int = 256, **options: Any) -> Segmenter:
    """Assemble UPerNet.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        channels: of the pyramid.
        options: see `assemble`.
    """
    return assemble(partial(UPerNet, channels=channels), backbone, num_classes, **options)


def unet(backbone: str | Backbone, num_classes: int, **options: Any) -> Segmenter:
    """Assemble a U-Net whose way down is the backbone.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        options: see `assemble`.
    """
    return assemble(UNet, backbone, num_classes, **options)


def _on_the_last(levels, norm):  # type: ignore[no-untyped-def]
    return LevelDecoder(levels[-1], norm)


def _scores(levels, norm, num_levels, num_classes):  # type: ignore[no-untyped-def]
    return FCNScores(levels, num_levels, num_classes)
