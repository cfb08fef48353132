"""SlowFast: a wide path that sees few frames beside a thin one that sees all.

SlowFast Networks for Video Recognition, Feichtenhofer et al. 2019, https://arxiv.org/abs/1812.03982
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone, BackboneOptions, Level
from vertebra.backbones.blocks import BlockSpec, Bottleneck
from vertebra.backbones.checkpointing import checkpointed
from vertebra.backbones.convolutions import along_time, frame_wise
from vertebra.backbones.layers import conv, norm_layer
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet, initialize
from vertebra.backbones.resnet_clips import FRAMES_KEPT, slow_block
from vertebra.backbones.stems import clip_stem

ALPHA = 4  # frames of the fast path to one of the slow path
BETA = 8  # channels of the slow path to one of the fast path
FUSED = 2  # channels that the slow path is given to one of the fast path
_FEW_CHANNELS = 16  # fewer do not fill a vector of a CPU


class SlowFast(Backbone):
    """Two ResNets side by side; the fast one tells the slow one what moves, behind the stem and the first stages.

    The slow path sees every fourth frame of the clip, beginning with the first. (pytorchvideo leaves the choice to the
    data, whose usual recipe spreads as many frames evenly from the first to the last.)

    Args:
        depths: number of blocks in each stage, of both paths.
        options: what holds for any backbone.
        frames: that a lateral convolution sees.

    Shape:
        - clips: (N, in_channels, T, H, W)
        - output: dict of `level.name` to (N, level.channels, ceil(T / 4), ceil(H / reduction), ceil(W / reduction)):
          the slow path's map, and behind it in the channels the fast path's, each four frames of it averaged. The mean
          over all of the map is that over both paths where 4 divides T; else the last frames count a little more.
    """

    def __init__(self, depths: Sequence[int], options: BackboneOptions | None = None, *, frames: int = 7) -> None:
        super().__init__()
        options = options or BackboneOptions()
        whole = replace(options, out_levels=None)
        widths = (64, 128, 256, 512)
        stem = partial(clip_stem, frames=1)
        self.slow = ResNet(_fused_block, depths, whole, dim=3, stem=stem, widths=widths, strides=FRAMES_KEPT)
        stem = partial(clip_stem, frames=5, channels=64 // BETA)
        thin = [width // BETA for width in widths]
        self.fast = ResNet(_fast_block, depths, whole, dim=3, stem=stem, widths=thin, strides=FRAMES_KEPT)
        told = [64 // BETA, *(level.channels for level in self.fast.levels[:-1])]
        self.fusions = nn.ModuleList(
            nn.Sequential(
                conv(3, channels, channels * FUSED, kernel_size=(frames, 1, 1), stride=(ALPHA, 1, 1)),
                norm_layer(3, channels * FUSED, options.norm),
                nn.ReLU(inplace=True),
            )
            for channels in told
        )
        initialize(self.fusions, zero_init=False)
        self.checkpointing = options.checkpointing
        for module in self.fast.modules():
            if isinstance(module, nn.BatchNorm3d) and module.num_features < _FEW_CHANNELS:
                module.register_forward_pre_hook(_outermost)

        levels = []
        for slow, fast in zip(self.slow.levels, self.fast.levels, strict=True):
            _, height, width = cast("tuple[int, int, int]", slow.reduction)
            levels.append(Level(slow.name, slow.channels + fast.channels, (ALPHA, height, width)))
        self.choose_levels(levels, options.out_levels)
        # the paths freeze themselves; a fusion goes with the stage in front of it
        self.freeze(*(f"fusions.{i}" for i in range(min(options.frozen_stages, len(self.fusions)))))

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        slow, fast = _stem(self.slow, clips[:, :, ::ALPHA]), _stem(self.fast, clips)
        wanted = {level.name for level in self.levels}
        features: dict[str, Tensor] = {}
        for index, stage in enumerate(self.slow.stages):
            slow = self._stage(self.slow, stage, torch.cat([slow, self.fusions[index](fast)], dim=1))
            fast = self._stage(self.fast, stage, fast)
            if (name := f"C{index + 2}") in wanted:
                features[name] = torch.cat([slow, _fewer_frames(fast)], dim=1)
            if len(features) == len(wanted):  # nobody asked for what is coarser
                break
        return features

    def _stage(self, path: ResNet, stage: str, x: Tensor) -> Tensor:
        for block in cast(nn.Sequential, path.get_submodule(stage)):
            x = checkpointed(block, x) if self.checkpointing and self.training else block(x)
        return x


def _stem(path: ResNet, clips: Tensor) -> Tensor:
    return path.maxpool(path.relu(path.bn1(path.conv1(clips))))


def _outermost(norm: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
    """Lay a map out with its channels outermost, ahead of a norm that trains on a CPU.

    Where few channels lie innermost (`channels_last_3d`), the gradient of PyTorch's batch norm goes through them one
    number at a time: of 8 x 8 x 16 x 56 x 56 in bf16 it takes 29 ms so, and 1 ms with the channels outermost.
    """
    (x,) = inputs
    return (x.contiguous(),) if norm.training and x.device.type == "cpu" else None


def _fewer_frames(x: Tensor) -> Tensor:
    """Return the means of each `ALPHA` frames; of those that are left at the end where there are fewer."""
    size = (min(ALPHA, x.shape[2]), 1, 1)  # a kernel may not be longer than the clip
    return F.avg_pool3d(x, size, stride=(ALPHA, 1, 1), ceil_mode=True, count_include_pad=False)


def _fused_block(place: BlockSpec) -> nn.Module:
    if place.number == 0:  # what the fast path tells comes in beside the slow path's own
        place = place._replace(in_channels=place.in_channels + place.in_channels * FUSED // BETA)
    return slow_block(place)


def _fast_block(place: BlockSpec) -> nn.Module:
    return Bottleneck(place, entry=along_time, convolution=frame_wise)


@register
def slowfast_r50(options: BackboneOptions) -> SlowFast:
    """SlowFast-50."""
    return SlowFast((3, 4, 6, 3), options)


@register
def slowfast_r101(options: BackboneOptions) -> SlowFast:
    """SlowFast-101; its lateral convolutions see fewer frames."""
    return SlowFast((3, 4, 23, 3), options, frames=5)
