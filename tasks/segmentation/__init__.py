"""Semantic segmentation."""

from tasks.segmentation.architectures import (
    deeplabv3,
    deeplabv3plus,
    fcn,
    fcn_scores,
    pspnet,
    semantic_fpn,
    unet,
    upernet,
)
from tasks.segmentation.data import SegmentationData
from tasks.segmentation.module import SegmentationModule
from tasks.segmentation.segmenter import Segmenter
from tasks.segmentation.weights import load_weights

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
