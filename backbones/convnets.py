"""Networks before residual ones: AlexNet and VGG, without their fully connected layers. Names are torchvision's.

- alexnet: One weird trick for parallelizing convolutional neural networks, Krizhevsky 2014,
  https://arxiv.org/abs/1404.5997; one column of ImageNet Classification with Deep Convolutional Neural Networks (2012)
- vgg: Very Deep Convolutional Networks, Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556; `_bn` with batch
  norms, which the paper does not have
- alexnet_cifar, vgg_cifar: with strides and widths for images of 32 pixels, and with batch norms, without which they do
  not learn at the learning rate of a ResNet
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone, BackboneOptions, Level
from vertebra.backbones.cpu_convolutions import Conv2d
from vertebra.backbones.layers import norm_layer
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import initialize


class Layer(NamedTuple):
    """A convolution with a ReLU.

    Attributes:
        channels: of the output.
        kernel: size of the kernel.
        stride: of the convolution.
        padding: before the first pixel.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


class RoundingUp(Conv2d):
    """Convolution whose output has ceil(size / stride) pixels: what is missing is padded at the right and the bottom.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, _after(x, self.kernel_size[0], self.stride[0], int(self.padding[0]))))


class MaxPool(nn.Module):
    """Max pooling of stride 2 to half the size, rounded up, of maps that are not negative.

    Args:
        kernel: size of the window.

    Shape:
        (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, _after(x, self.kernel, 2, 0)), self.kernel, stride=2)


def _after(x: Tensor, kernel: int, stride: int, padding: int) -> list[int]:
    """Return the padding, as `F.pad` takes it, that `padding` on both sides leaves out."""
    pads = []
    for size in reversed(x.shape[2:]):
        covered = stride * (-(-size // stride) - 1) + kernel
        pads += [0, max(0, covered - size - 2 * padding)]
    return pads


class ConvNet(Backbone):
    """Convolutions and poolings in a row, whose maps before each pooling are the levels.

    Keys of `features` are torchvision's. Of images whose sides are multiples of 32 a VGG's maps are torchvision's;
    AlexNet's have one more row and column, since torchvision drops what its strides do not divide.

    Args:
        options: of any backbone; unsupported ones are refused.
        stages: layers between two poolings.
        pool: size of the pooling windows; strides are 2.
        normalized: put a norm after each convolution.
        last_pool: pool the last map, too.
        finest: reduction of the finest level.

    Shape:
        (N, in_channels, H, W) -> dict of `level.name` to (N, level.channels, ceil(H / reduction), ceil(W / reduction))

    Raises:
        ValueError: an option that these networks do not have.
    """

    def __init__(
        self,
        options: BackboneOptions,
        stages: Sequence[Sequence[Layer]],
        *,
        pool: int = 2,
        normalized: bool = False,
        last_pool: bool = True,
        finest: int = 4,
    ) -> None:
        super().__init__()
        supported = ("in_channels", "out_levels", "frozen_stages", *(["norm"] if normalized else []))
        options.require_only("a network without shortcuts such as VGG", *supported)
        layers: list[nn.Module] = []
        maps: list[tuple[int, int, int]] = []  # end in `features`, channels and reduction
        channels, reduction = options.in_channels, 1
        for index, stage in enumerate(stages):
            if index:
                layers.append(MaxPool(pool))
                reduction *= 2
            for width, kernel, stride, padding in stage:
                kind = Conv2d if stride == 1 else RoundingUp
                layers.append(kind(channels, width, kernel, stride=stride, padding=padding))
                layers += [norm_layer(2, width, options.norm)] if normalized else []
                layers.append(nn.ReLU(inplace=True))
                channels, reduction = width, reduction * stride
            maps.append((len(layers), channels, reduction))
        if last_pool:
            layers.append(MaxPool(pool))
            maps.append((len(layers), channels, 2 * reduction))
        self.features = nn.Sequential(*layers)
        initialize(self, zero_init=False)
        for module in self.modules():
            if isinstance(module, Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        kept = [(end, width, size) for end, width, size in maps if size >= finest]
        levels = [Level(f"C{index + 2}", width, size) for index, (_, width, size) in enumerate(kept)]
        self.ends = {level.name: end for level, (end, _, _) in zip(levels, kept, strict=True)}
        self.choose_levels(levels, options.out_levels)
        if options.frozen_stages:
            stem = max((end for end, _, size in maps if size < finest), default=2 + normalized)
            last = [stem, *self.ends.values()][min(options.frozen_stages, len(levels) + 1) - 1]
            self.freeze(*(f"features.{index}" for index in range(last)))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features, x, start = {}, images, 0
        for name, end in self.ends.items():
            x = self.features[start:end](x)
            features[name], start = x, end
        return {level.name: features[level.name] for level in self.levels}


def _vgg(*depths: int, widths: Sequence[int] = (64, 128, 256, 512, 512)) -> list[list[Layer]]:
    return [[Layer(width)] * depth for width, depth in zip(widths, depths, strict=True)]


ALEXNET = ([Layer(64, 11, 4, 2)], [Layer(192, 5, 1, 2)], [Layer(384), Layer(256), Layer(256)])
SMALL_ALEXNET = ([Layer(32, 5, 1, 2)], [Layer(64, 5, 1, 2)], [Layer(96), Layer(64), Layer(64)])
SMALL_VGG = _vgg(2, 2, 3, 3, widths=(16, 32, 64, 128))
VGGS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}

register(partial(ConvNet, stages=ALEXNET, pool=3), "alexnet")
register(partial(ConvNet, stages=SMALL_ALEXNET, pool=3, normalized=True, last_pool=False, finest=1), "alexnet_cifar")
register(partial(ConvNet, stages=SMALL_VGG, normalized=True, last_pool=False, finest=1), "vgg_cifar")
for name, depths in VGGS.items():
    register(partial(ConvNet, stages=_vgg(*depths)), name)
    register(partial(ConvNet, stages=_vgg(*depths), normalized=True), f"{name}_bn")
