"""Public names of vertebra.tasks.segmentation."""

from vertebra.backbones.network_weights import load_weights
from vertebra.tasks.segmentation.architectures import (
    FCN,
    DeepLabV3,
    DeepLabV3Plus,
    FCNScores,
    PSPNet,
    SemanticFPN,
    UNet,
    UPerNet,
    deeplabv3,
    deeplabv3plus,
    fcn,
    fcn_scores,
    pspnet,
    semantic_fpn,
    unet,
    upernet,
)
from vertebra.tasks.segmentation.data import SegmentationData
from vertebra.tasks.segmentation.deeplab import ASPP, DeepLabV3Decoder, DeepLabV3PlusDecoder
from vertebra.tasks.segmentation.fcn_decoder import FCNScoresDecoder
from vertebra.tasks.segmentation.module import SegmentationModule
from vertebra.tasks.segmentation.pyramid_pooling import PSPNetDecoder, PyramidPooling, UPerNetDecoder
from vertebra.tasks.segmentation.segmenter import LevelDecoder, PixelHead, Segmenter
from vertebra.tasks.segmentation.semantic_fpn_decoder import SemanticFPNDecoder
from vertebra.tasks.segmentation.unet_decoder import UNetDecoder
from vertebra.tasks.training.normalize import Normalize

__all__ = [
    "ASPP",
    "FCN",
    "DeepLabV3",
    "DeepLabV3Decoder",
    "DeepLabV3Plus",
    "DeepLabV3PlusDecoder",
    "FCNScores",
    "FCNScoresDecoder",
    "LevelDecoder",
    "Normalize",
    "PSPNet",
    "PSPNetDecoder",
    "PixelHead",
    "PyramidPooling",
    "SegmentationData",
    "SegmentationModule",
    "Segmenter",
    "SemanticFPN",
    "SemanticFPNDecoder",
    "UNet",
    "UNetDecoder",
    "UPerNet",
    "UPerNetDecoder",
    "deeplabv3",
    "deeplabv3plus",
    "fcn",
    "fcn_scores",
    "load_weights",
    "pspnet",
    "semantic_fpn",
    "unet",
    "upernet",
]
