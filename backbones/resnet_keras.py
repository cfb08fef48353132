"""ResNets of version 1 and 2 as keras.applications has them, whose weight files load as they are."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone, BackboneOptions, Level
from vertebra.backbones.blocks import BlockSpec, Bottleneck
from vertebra.backbones.blocks_preact import norm_and_relu
from vertebra.backbones.frozen_norms import chain
from vertebra.backbones.layers import Norm, conv, norm_layer
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet, initialize


def _unstrided(*args: Any, stride: Any, **options: Any) -> nn.Module:
    return conv(*args, **options)


def original_bottleneck(spec: BlockSpec) -> Bottleneck:
    """Build a bottleneck with the stride in the first 1x1 convolution, as in the paper of ResNet."""
    return Bottleneck(spec, entry=partial(conv, stride=spec.stride), convolution=_unstrided)


@register
def resnet50_v1(options: BackboneOptions) -> ResNet:
    """ResNet-50 of version 1: the stride is in the first convolution of a block, as in the paper, Caffe and Keras."""
    return ResNet(original_bottleneck, (3, 4, 6, 3), options)


@register
def resnet101_v1(options: BackboneOptions) -> ResNet:
    """ResNet-101 of version 1."""
    return ResNet(original_bottleneck, (3, 4, 23, 3), options)


@register
def resnet152_v1(options: BackboneOptions) -> ResNet:
    """ResNet-152 of version 1."""
    return ResNet(original_bottleneck, (3, 8, 36, 3), options)


class PoolingPreActBottleneck(nn.Module):
    """Pre-activation bottleneck whose shortcut of stride 2 is a subsampling of the input, not a projection.

    Args:
        in_channels: of the input.
        width: of the 3x3 convolution; the output has 4 times as many channels.
        stride: of the 3x3 convolution and of the shortcut.
        norm: see `BackboneOptions`.

    Shape:
        (N, in_channels, H, W) -> (N, 4 * width, H / stride, W / stride)
    """

    folds = (("conv1", "bn2"), ("conv2", "bn3"))

    def __init__(self, in_channels: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.bn1 = norm_layer(2, in_channels, norm)
        self.conv1 = conv(2, in_channels, width, 1)
        self.bn2 = norm_layer(2, width, norm)
        self.conv2 = conv(2, width, width, 3, stride=(stride, stride))
        self.bn3 = norm_layer(2, width, norm)
        self.conv3 = nn.Conv2d(width, 4 * width, kernel_size=1)
        self.relu = nn.ReLU(inplace=True)
        self.stride = stride
        self.downsample = nn.Conv2d(in_channels, 4 * width, kernel_size=1) if in_channels != 4 * width else None

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch; with its weights at zero the block is its shortcut."""
        return self.conv3

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        shortcut = x[..., :: self.stride, :: self.stride] if self.downsample is None else self.downsample(activated)
        x = chain(activated, self.conv1, self.bn2, self.relu, self.conv2, self.bn3, self.relu, self.conv3)
        return x.add_(shortcut)


class PoolingPreActResNet(Backbone):
    """ResNet of version 2 as in TF-Slim and Keras: the last block of a stack halves the map, not the first.

    Identity Mappings in Deep Residual Networks, He et al. 2016, https://arxiv.org/abs/1603.05027. That block is the
    first of the next stage here, so that each stage has one resolution. C5 is taken after the closing norm and ReLU,
    the finer maps are sums without an activation.

    Args:
        options: of any backbone; unsupported ones are refused.
        depths: blocks of the four stacks.

    Shape:
        (N, in_channels, H, W) -> dict of `level.name` to (N, level.channels, H / reduction, W / reduction)

    Raises:
        ValueError: an option that the network does not have.
    """

    def __init__(self, options: BackboneOptions, depths: tuple[int, int, int, int]) -> None:
        super().__init__()
        options.require_only("a ResNet-v2 of Keras", "in_channels", "norm", "out_levels", "frozen_stages", "zero_init")
        self.conv1 = nn.Conv2d(options.in_channels, 64, kernel_size=7, stride=2, padding=3)
        channels, stages = 64, [[], [], [], []]  # type: tuple[int, list[list[nn.Module]]]
        for stack, depth in enumerate(depths):
            for number in range(depth):
                halves = stack < 3 and number == depth - 1
                block = PoolingPreActBottleneck(channels, 64 * 2**stack, 2 if halves else 1, options.norm)
                stages[stack + halves].append(block)
                channels = 256 * 2**stack
        self.stages = [f"layer{index + 1}" for index in range(4)]
        for name, blocks in zip(self.stages, stages, strict=True):
            setattr(self, name, nn.Sequential(*blocks))
        self.closing = norm_and_relu(2, channels, options.norm)
        initialize(self, options.zero_init)
        levels = [Level(f"C{index + 2}", 256 * 2**index, 4 * 2**index) for index in range(4)]
        self.choose_levels(levels, options.out_levels)
        if options.frozen_stages:
            last = ["closing"] if options.frozen_stages > len(depths) else []
            self.freeze("conv1", *self.stages[: options.frozen_stages - 1], *last)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        # no activation precedes the pooling, so that the padding of zeros is not that of torch, which never wins
        x = F.max_pool2d(F.pad(self.conv1(images), (1, 1, 1, 1)), kernel_size=3, stride=2)
        features = {}
        for index, stage in enumerate(self.stages):
            x = self.get_submodule(stage)(x)
            features[f"C{index + 2}"] = self.closing(x) if stage == self.stages[-1] else x
        return {level.name: features[level.name] for level in self.levels}


@register
def resnet50_v2(options: BackboneOptions) -> PoolingPreActResNet:
    """Pre-activation ResNet-50 of Keras and TF-Slim."""
    return PoolingPreActResNet(options, (3, 4, 6, 3))


@register
def resnet101_v2(options: BackboneOptions) -> PoolingPreActResNet:
    """Pre-activation ResNet-101 of Keras and TF-Slim."""
    return PoolingPreActResNet(options, (3, 4, 23, 3))


@register
def resnet152_v2(options: BackboneOptions) -> PoolingPreActResNet:
    """Pre-activation ResNet-152 of Keras and TF-Slim."""
    return PoolingPreActResNet(options, (3, 8, 36, 3))
