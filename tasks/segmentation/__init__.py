"""Semantic segmentation."""

from vertebra.tasks.segmentation.architectures import (
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
from vertebra.tasks.segmentation.module import SegmentationModule
from vertebra.tasks.segmentation.segmenter import Segmenter
from vertebra.tasks.segmentation.weights import load_weights

__all__ = [
    "SegmentationData",
    "SegmentationModule",
    "Segmenter",
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
