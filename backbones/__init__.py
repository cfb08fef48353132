"""ResNet-family backbones with named feature maps, and the necks that turn those into pyramids."""

from backbones import resnet_2d, resnet_attention  # noqa: F401  their networks register themselves
from backbones.backbone import Backbone, BackboneOptions, Level
from backbones.necks import FPN
from backbones.registry import create_backbone, list_backbones, register
from backbones.resnet import ResNet
from backbones.weights import load_weights

__all__ = [
    "FPN",
    "Backbone",
    "BackboneOptions",
    "Level",
    "ResNet",
    "create_backbone",
    "list_backbones",
    "load_weights",
    "register",
]
