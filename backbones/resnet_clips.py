"""Bottleneck ResNets for clips with Kinetics weights at pytorchvideo. Names are pytorchvideo's.

- r2plus1d: A Closer Look at Spatiotemporal Convolutions, Tran et al. 2018, https://arxiv.org/abs/1711.11248
- i3d: Quo Vadis, Action Recognition?, Carreira and Zisserman 2017, https://arxiv.org/abs/1705.07750, on a ResNet, and
  c2d, the same without temporal kernels: Non-local Neural Networks, Wang et al. 2018,
  https://arxiv.org/abs/1711.07971
- slow: the slow pathway alone of SlowFast Networks, Feichtenhofer et al. 2019, https://arxiv.org/abs/1812.03982
- csn: Channel-Separated Convolutional Networks, Tran et al. 2019, https://arxiv.org/abs/1904.02811, without the
  1x1x1 convolution before the depthwise one (interaction-reduced)
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BlockSpec, Bottleneck
from vertebra.backbones.convolutions import depthwise, spatial_conv, temporal_conv, temporal_then_spatial
from vertebra.backbones.layers import Convolution
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.stems import clip_stem

NO_TEMPORAL_STRIDE = (1, (1, 2, 2), (1, 2, 2), (1, 2, 2))
ONE_TEMPORAL_STRIDE = (1, (2, 2, 2), (1, 2, 2), (1, 2, 2))


class FramePoolingBottleneck(Bottleneck):
    """Bottleneck with temporal max pooling before it, in place of a temporal stride.

    Args:
        spec: position and shape of the block; its temporal stride is that of the pooling.
        entry: see `Bottleneck`.
        convolution: see `Bottleneck`.

    Shape:
        (N, in_channels, T, H, W) -> (N, 4 * width, ceil(T / stride), ceil(H / stride), ceil(W / stride)). An odd
        last frame is pooled alone, where pytorchvideo drops it.
    """

    def __init__(self, spec: BlockSpec, entry: Convolution, convolution: Convolution) -> None:
        frames, *steps = spec.stride
        super().__init__(spec._replace(stride=(1, *steps)), entry=entry, convolution=convolution)
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        size = (min(self.frames, x.shape[2]), 1, 1)  # the kernel must not be longer than the clip
        return super().forward(F.max_pool3d(x, size, stride=(self.frames, 1, 1), ceil_mode=True))


def inflated_block(spec: BlockSpec) -> nn.Module:
    """Build a block of I3D: in every other one the first convolution is temporal."""
    # all blocks of the first stage, the second of the last, and the first, third, ... of the others
    is_temporal = spec.stage == 0 or spec.number % 2 == (1 if spec.stage == 3 else 0)
    return _frame_wise(spec, temporal_conv if is_temporal else spatial_conv)


def flat_block(spec: BlockSpec) -> nn.Module:
    """Build a block of C2D, which is spatial only."""
    return _frame_wise(spec, spatial_conv)


def _frame_wise(spec: BlockSpec, entry: Convolution) -> nn.Module:
    pooling = spec.stride[0] > 1
    return (FramePoolingBottleneck if pooling else Bottleneck)(spec, entry=entry, convolution=spatial_conv)


def slow_block(spec: BlockSpec) -> nn.Module:
    """Build a block of SlowOnly: in the last two stages the first convolution is temporal."""
    return Bottleneck(spec, entry=temporal_conv if spec.stage >= 2 else spatial_conv, convolution=spatial_conv)


def factored_block(spec: BlockSpec) -> nn.Module:
    """Build a bottleneck block of R(2+1)D."""
    return Bottleneck(spec, convolution=partial(temporal_then_spatial, norm=spec.norm))


@register
def r2plus1d_r50(options: BackboneOptions) -> ResNet:
    """R(2+1)D-50."""
    stem = partial(clip_stem, frames=1, pooled=False)
    strides = ((1, 2, 2), (1, 2, 2), 2, 2)
    return ResNet(factored_block, (3, 4, 6, 3), options, dim=3, stem=stem, strides=strides)


@register
def i3d_r50(options: BackboneOptions) -> ResNet:
    """I3D-50."""
    stem = partial(clip_stem, frames=5)
    return ResNet(inflated_block, (3, 4, 6, 3), options, dim=3, stem=stem, strides=ONE_TEMPORAL_STRIDE)


@register
def i3d_r101(options: BackboneOptions) -> ResNet:
    """I3D-101."""
    stem = partial(clip_stem, frames=5)
    return ResNet(inflated_block, (3, 4, 23, 3), options, dim=3, stem=stem, strides=ONE_TEMPORAL_STRIDE)


@register
def c2d_r50(options: BackboneOptions) -> ResNet:
    """C2D-50."""
    stem = partial(clip_stem, frames=1)
    return ResNet(flat_block, (3, 4, 6, 3), options, dim=3, stem=stem, strides=ONE_TEMPORAL_STRIDE)


@register
def slow_r50(options: BackboneOptions) -> ResNet:
    """SlowOnly-50."""
    stem = partial(clip_stem, frames=1)
    return ResNet(slow_block, (3, 4, 6, 3), options, dim=3, stem=stem, strides=NO_TEMPORAL_STRIDE)


@register
def csn_r101(options: BackboneOptions) -> ResNet:
    """ir-CSN-101."""
    return ResNet(partial(Bottleneck, convolution=depthwise), (3, 4, 23, 3), options, dim=3, stem=clip_stem)
