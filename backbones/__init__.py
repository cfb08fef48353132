"""ResNet-family backbones with named feature maps, and necks that build feature pyramids from them."""

from vertebra.backbones import (  # noqa: F401  importing registers their networks
    bridged,
    convnets,
    cspdarknet,
    momentum_resnet,
    odenet,
    resnet_2d,
    resnet_3d,
    resnet_attention,
    resnet_cifar,
    resnet_clips,
    resnet_keras,
    resnet_preact,
    resnet_spelled,
    resnet_volumes,
    slowfast,
    temporal,
    vgg,
    vit,
    x3d,
)
from vertebra.backbones.backbone import Backbone, BackboneOptions, Level
from vertebra.backbones.inflate import inflate
from vertebra.backbones.necks import FPN, PAFPN, BiFPN, create_neck
from vertebra.backbones.registry import create_backbone, list_backbones, register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.weights import load_weights

__all__ = [
    "FPN",
    "PAFPN",
    "Backbone",
    "BackboneOptions",
    "BiFPN",
    "Level",
    "ResNet",
    "create_backbone",
    "create_neck",
    "inflate",
    "list_backbones",
    "load_weights",
    "register",
    "resolve_backbone",
]
