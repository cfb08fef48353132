"""VGG-16 with dilated convolutions in place of its classifier: the backbone of SSD.

Very Deep Convolutional Networks, Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556; its fully connected
layers as convolutions as in SSD, Liu et al. 2016, https://arxiv.org/abs/1512.02325, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone, BackboneOptions, Level
from vertebra.backbones.layers import conv
from vertebra.backbones.registry import register

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions between two poolings
SCALE = 20.0  # initial length of the vectors of C3 (section 3.1 of SSD)
# of the classifier: shape as a convolution, and the keys of torchvision and timm
FULLY_CONNECTED = (
    ("fc6", (4096, 512, 7, 7), ("classifier.0", "pre_logits.fc1")),
    ("fc7", (4096, 4096, 1, 1), ("classifier.3", "pre_logits.fc2")),
)


class L2Norm(nn.Module):
    """Vectors of a map scaled to the same length, times a learned factor for each channel.

    ParseNet, Liu et al. 2015, https://arxiv.org/abs/1506.04579.

    Args:
        channels: of the map.
        scale: initial factor.

    Shape:
        (N, channels, H, W) -> the same
    """

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.view(1, -1, 1, 1) * F.normalize(x)


class AtrousVGG(Backbone):
    """VGG-16 down to a reduction of 16, whose last two layers are a dilated and a 1x1 convolution.

    C3 is conv4_3 behind an `L2Norm`, C4 is fc7. Keys of `features` are torchvision's of its VGG-16, whose fully
    connected layers are subsampled when they are loaded. Poolings round up, which changes nothing for even sizes.

    Args:
        options: of any backbone; unsupported ones are refused.

    Shape:
        (N, in_channels, H, W) -> dict of `level.name` to (N, level.channels, H / reduction, W / reduction)

    Raises:
        ValueError: an option that VGG does not have.
    """

    def __init__(self, options: BackboneOptions) -> None:
        super().__init__()
        options.require_only("vgg16_atrous", "in_channels", "out_levels", "frozen_stages")
        layers: list[nn.Module] = []
        ends = []  # of the stages, in `features`
        in_channels = options.in_channels
        for stage, (channels, num_convs) in enumerate(STAGES):
            layers += [nn.MaxPool2d(2, ceil_mode=True)] if stage else []
            for _ in range(num_convs):
                layers += [conv(2, in_channels, channels, kernel_size=3, bias=True), nn.ReLU(inplace=True)]
                in_channels = channels
            ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.norm = L2Norm(512, SCALE)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.fc6 = conv(2, 512, 1024, kernel_size=3, dilation=6, bias=True)
        self.fc7 = conv(2, 1024, 1024, kernel_size=1, bias=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.ends = {"C2": ends[2], "C3": ends[3]}
        self.choose_levels([Level("C2", 256, 4), Level("C3", 512, 8), Level("C4", 1024, 16)], options.out_levels)
        if options.frozen_stages:
            end = (ends[1], *ends[2:4], len(layers), len(layers))[options.frozen_stages - 1]
            head = ("norm", "fc6", "fc7") if options.frozen_stages >= 4 else ()
            self.freeze(*(f"features.{i}" for i in range(end)), *head)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features, x, start = {}, images, 0
        for name, end in self.ends.items():
            x = self.features[start:end](x)
            features[name], start = x, end
        features["C3"] = self.norm(features["C3"])
        x = self.pool(self.features[start:](x))
        features["C4"] = F.relu(self.fc7(F.relu(self.fc6(x))))
        return {level.name: features[level.name] for level in self.levels}

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of torchvision's or timm's VGG-16 under this network's names.

        Of the fully connected layers every fourth output is taken, and of 7 x 7 pixels every third, as in SSD.
        """
        renamed = {key: value for key, value in state.items() if not key.startswith(("classifier.", "pre_logits."))}
        for layer, shape, keys in FULLY_CONNECTED:
            for key in keys:
                if f"{key}.weight" in state:
                    every = slice(None) if layer == "fc6" else slice(None, None, 4)  # fc7 sees the outputs of fc6
                    renamed[f"{layer}.weight"] = state[f"{key}.weight"].reshape(shape)[::4, every, ::3, ::3]
                    renamed[f"{layer}.bias"] = state[f"{key}.bias"][::4]
                    renamed["norm.weight"] = self.norm.weight.detach()  # which no classifier has
        return renamed


@register
def vgg16_atrous(options: BackboneOptions) -> AtrousVGG:
    """VGG-16 of SSD, for maps of reduction 4, 8 and 16."""
    return AtrousVGG(options)
