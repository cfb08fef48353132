"""Segmentation networks by name: each puts its decoder on any 2-D backbone. `options` are those of `Segmenter`."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from vertebra.backbones import Backbone
from vertebra.backbones.conventions import Renames
from vertebra.tasks.segmentation.deeplab import DeepLabV3Decoder, DeepLabV3PlusDecoder
from vertebra.tasks.segmentation.fcn_decoder import FCNScoresDecoder
from vertebra.tasks.segmentation.pyramid_pooling import PSPNetDecoder, UPerNetDecoder
from vertebra.tasks.segmentation.segmenter import LevelDecoder, Segmenter
from vertebra.tasks.segmentation.semantic_fpn_decoder import SemanticFPNDecoder
from vertebra.tasks.segmentation.unet_decoder import UNetDecoder

# torchvision's auxiliary head
_AUX: Renames = (
    (r"^aux_classifier\.([01])\.", r"aux.0.fuse.\1."),
    (r"^aux_classifier\.4\.", "aux.1.conv."),
)


class DeepLabV3(Segmenter):
    """DeepLabV3; with `resnet50` and `aux` it is torchvision's `deeplabv3_resnet50`, whose weights load.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        channels: of ASPP.
        options: of `Segmenter`; a named backbone has `output_stride` 8 if not given, and 16 takes a third of the time.
    """

    renames: ClassVar[Renames] = (
        # torchvision's head: 0 is ASPP, 1 to 3 are convolution, norm and ReLU, 4 is the last convolution
        (r"^classifier\.0\.", "decoder.aspp."),
        (r"^classifier\.([12])\.", lambda found: f"decoder.fuse.{int(found[1]) - 1}."),
        (r"^classifier\.4\.", "head.conv."),
        *_AUX,
    )
    default_output_stride = 8

    def __init__(self, backbone: str | Backbone, num_classes: int, *, channels: int = 256, **options: Any) -> None:
        super().__init__(backbone, num_classes, partial(DeepLabV3Decoder, channels=channels), **options)


class DeepLabV3Plus(Segmenter):
    """DeepLabV3+.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        channels: of ASPP and of the decoder.
        separable: depthwise and pointwise instead of full 3x3 convolutions.
        options: of `Segmenter`; a named backbone has `output_stride` 16 if not given, and 8 gives finer borders at
            three times the cost.
    """

    default_output_stride = 16

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        channels: int = 256,
        separable: bool = True,
        **options: Any,
    ) -> None:
        decoder = partial(DeepLabV3PlusDecoder, channels=channels, separable=separable)
        super().__init__(backbone, num_classes, decoder, **options)


class FCN(Segmenter):
    """Fully convolutional network with one 3x3 convolution; with `resnet50` it is torchvision's `fcn_resnet50`.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        options: of `Segmenter`; a named backbone has `output_stride` 8 if not given.
    """

    renames: ClassVar[Renames] = (
        (r"^classifier\.([01])\.", r"decoder.fuse.\1."),
        (r"^classifier\.4\.", "head.conv."),
        *_AUX,
    )
    default_output_stride = 8

    def __init__(self, backbone: str | Backbone, num_classes: int, **options: Any) -> None:
        super().__init__(backbone, num_classes, lambda levels, norm: LevelDecoder(levels[-1], norm), **options)


class FCNScores(Segmenter):
    """FCN-32s, FCN-16s or FCN-8s, which add the scores of one, two or three levels.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        num_levels: 1, 2 or 3.
        options: of `Segmenter`; no layer follows the sum, so `drop_rate` needs the auxiliary head.
    """

    decodes_logits = True

    def __init__(self, backbone: str | Backbone, num_classes: int, *, num_levels: int = 3, **options: Any) -> None:
        super().__init__(
            backbone, num_classes, lambda levels, norm: FCNScoresDecoder(levels, num_levels, num_classes), **options
        )


class PSPNet(Segmenter):
    """PSPNet.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        channels: of the fused map after the pyramid pooling.
        options: of `Segmenter`; a named backbone has `output_stride` 8 if not given.
    """

    default_output_stride = 8

    def __init__(self, backbone: str | Backbone, num_classes: int, *, channels: int = 512, **options: Any) -> None:
        super().__init__(backbone, num_classes, partial(PSPNetDecoder, channels=channels), **options)


class SemanticFPN(Segmenter):
    """Semantic FPN.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        channels: of the decoder; the feature pyramid has twice as many.
        options: of `Segmenter`.
    """

    def __init__(self, backbone: str | Backbone, num_classes: int, *, channels: int = 128, **options: Any) -> None:
        decoder = partial(SemanticFPNDecoder, pyramid_channels=2 * channels, channels=channels)
        super().__init__(backbone, num_classes, decoder, **options)


class UNet(Segmenter):
    """U-Net with the backbone as its contracting path.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        options: of `Segmenter`.
    """

    def __init__(self, backbone: str | Backbone, num_classes: int, **options: Any) -> None:
        super().__init__(backbone, num_classes, UNetDecoder, **options)


class UPerNet(Segmenter):
    """UPerNet.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K.
        channels: of the feature pyramid.
        options: of `Segmenter`.
    """

    def __init__(self, backbone: str | Backbone, num_classes: int, *, channels: int = 256, **options: Any) -> None:
        super().__init__(backbone, num_classes, partial(UPerNetDecoder, channels=channels), **options)


# the lower-case names read like torchvision's constructors
deeplabv3 = DeepLabV3
deeplabv3plus = DeepLabV3Plus
fcn = FCN
fcn_scores = FCNScores
pspnet = PSPNet
semantic_fpn = SemanticFPN
unet = UNet
upernet = UPerNet
