"""Mean and standard deviation that the published weights of a network expect, by the network's name.

Weight files do not record them, and with other values a network loses accuracy without an error. Networks of timm
have their own, see `timm_bridge`; wherever nothing else is listed they are ImageNet's.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from vertebra.backbones.backbone import Normalization

# for red, green and blue in 0..1
IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: Normalization = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # pixels in -1..1
_BYTES: Normalization = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # pixels in 0..255
# the preprocessing "caffe" of Keras: pixels of 0 to 255 without their mean
_CAFFE: Normalization = ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255))
_KINETICS: Normalization = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
_PYTORCHVIDEO: Normalization = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
_SSD: Normalization = ((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255))

_BY_NAME = {
    "resnet*_v1": _CAFFE,  # keras.applications
    "resnet*_v2": _HALF,
    "resnetv2_*": _HALF,  # timm
    "vit_*": _HALF,  # timm; DeiT expects ImageNet's
    "cspdarknet_*": _BYTES,  # YOLOX
    "vgg16_atrous": _SSD,  # torchvision
    **dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), _KINETICS),  # torchvision
    **dict.fromkeys(("c2d_*", "csn_*", "i3d_*", "r2plus1d_r50", "slow_*", "slowfast_*", "x3d_*"), _PYTORCHVIDEO),
}


def published_normalization(name: str) -> Normalization:
    """Return what the weights of a registered network expect."""
    return next((value for pattern, value in _BY_NAME.items() if fnmatchcase(name, pattern)), IMAGENET)
