"""The bottleneck ResNets for clips whose Kinetics weights pytorchvideo publishes. Names are pytorchvideo's.

- r2plus1d: A Closer Look at Spatiotemporal Convolutions, Tran et al. 2018, https://arxiv.org/abs/1711.11248
- i3d: Quo Vadis, Action Recognition?, Carreira and Zisserman 2017, https://arxiv.org/abs/1705.07750, on a ResNet and
  c2d, its twin without kernels along the time: Non-local Neural Networks, Wang et al. 2018,
  https://arxiv.org/abs/1711.07971
- slow: the slow path of SlowFast Networks, Feichtenhofer et al. 2019, https://arxiv.org/abs/1812.03982, alone
- csn: Channel-Separated Convolutional Networks, Tran et al. 2019, https://arxiv.org/abs/1904.02811, without the
  1x1x1 convolution ahead of the depthwise one ("interaction-reduced")
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BlockSpec, Bottleneck
from vertebra.backbones.convolutions import along_time, depthwise, frame_wise, temporal_then_spatial
from vertebra.backbones.layers import Convolution
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.stems import clip_stem

FRAMES_KEPT = (1, (1, 2, 2), (1, 2, 2), (1, 2, 2))
FRAMES_HALVED_ONCE = (1, (2, 2, 2), (1, 2, 2), (1, 2, 2))


class FramePoolingBottleneck(Bottleneck):
    """A bottleneck ahead of which the stronger of every two frames is kept, instead of striding over frames.

    Args:
        place: where the block stands; its stride along the time is that of the pooling.
        entry: see `Bottleneck`.
        convolution: see `Bottleneck`.

    Shape:
        (N, in_channels, T, H, W) -> (N, 4 * width, ceil(T / stride), ceil(H / stride), ceil(W / stride)). With an odd T
        the last frame stands alone, where pytorchvideo drops it.
    """

    def __init__(self, place: BlockSpec, entry: Convolution, convolution: Convolution) -> None:
        frames, *steps = place.stride
        super().__init__(place._replace(stride=(1, *steps)), entry=entry, convolution=convolution)
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        size = (min(self.frames, x.shape[2]), 1, 1)  # a kernel may not be longer than the clip
        return super().forward(F.max_pool3d(x, size, stride=(self.frames, 1, 1), ceil_mode=True))


def inflated_block(place: BlockSpec) -> nn.Module:
    """Build a block of I3D: in every other one the first convolution looks along the time."""
    # of the first stage all; of the last the second, of the others the first, third, ...
    looks = place.stage == 0 or place.number % 2 == (1 if place.stage == 3 else 0)
    return _frame_wise(place, along_time if looks else frame_wise)


def flat_block(place: BlockSpec) -> nn.Module:
    """Build a block of C2D, which sees every frame for itself."""
    return _frame_wise(place, frame_wise)


def _frame_wise(place: BlockSpec, entry: Convolution) -> nn.Module:
    pooling = place.stride[0] > 1
    return (FramePoolingBottleneck if pooling else Bottleneck)(place, entry=entry, convolution=frame_wise)


def slow_block(place: BlockSpec) -> nn.Module:
    """Build a block of SlowOnly: in the last two stages the first convolution looks along the time."""
    return Bottleneck(place, entry=along_time if place.stage >= 2 else frame_wise, convolution=frame_wise)


def factored_block(place: BlockSpec) -> nn.Module:
    """Build a block of R(2+1)D with a bottleneck."""
    return Bottleneck(place, convolution=partial(temporal_then_spatial, norm=place.norm))


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
    return ResNet(inflated_block, (3, 4, 6, 3), options, dim=3, stem=stem, strides=FRAMES_HALVED_ONCE)


@register
def i3d_r101(options: BackboneOptions) -> ResNet:
    """I3D-101."""
    stem = partial(clip_stem, frames=5)
    return ResNet(inflated_block, (3, 4, 23, 3), options, dim=3, stem=stem, strides=FRAMES_HALVED_ONCE)


@register
def c2d_r50(options: BackboneOptions) -> ResNet:
    """C2D-50."""
    stem = partial(clip_stem, frames=1)
    return ResNet(flat_block, (3, 4, 6, 3), options, dim=3, stem=stem, strides=FRAMES_HALVED_ONCE)


@register
def slow_r50(options: BackboneOptions) -> ResNet:
    """SlowOnly-50."""
    stem = partial(clip_stem, frames=1)
    return ResNet(slow_block, (3, 4, 6, 3), options, dim=3, stem=stem, strides=FRAMES_KEPT)


@register
def csn_r101(options: BackboneOptions) -> ResNet:
    """ir-CSN-101."""
    return ResNet(partial(Bottleneck, convolution=depthwise), (3, 4, 23, 3), options, dim=3, stem=clip_stem)
