"""ResNet-family backbones with named feature maps, and the necks that turn those into pyramids."""

from backbones import (  # noqa: F401  their networks register themselves
    bridged,
    resnet_2d,
    resnet_3d,
    resnet_attention,
    resnet_cifar,
    resnet_clips,
    resnet_preact,
    resnet_volumes,
    slowfast,
    temporal,
    x3d,
)
from backbones.backbone import Backbone, BackboneOptions, Level
from backbones.inflate import inflate
from backbones.necks import FPN, PAFPN, BiFPN
from backbones.registry import create_backbone, list_backbones, register
from backbones.resnet import ResNet
from backbones.weights import load_weights

__all__ = [
    "FPN",
    "PAFPN",
    "Backbone",
    "BackboneOptions",
    "BiFPN",
    "Level",
    "ResNet",
    "create_backbone",
    "inflate",
    "list_backbones",
    "load_weights",
    "register",
]
