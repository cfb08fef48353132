"""SlowFast: a wide pathway at a low frame rate and a thin one at the full frame rate.

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
from vertebra.backbones.checkpointing import checkpoint_block
from vertebra.backbones.convolutions import spatial_conv, temporal_conv
from vertebra.backbones.frozen_norms import Chain, chain
from vertebra.backbones.layers import conv, norm_layer
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet, initialize
from vertebra.backbones.resnet_clips import NO_TEMPORAL_STRIDE, slow_block
from vertebra.backbones.stems import clip_stem

ALPHA = 4  # frames of the fast pathway to one of the slow pathway
BETA = 8  # channels of the slow pathway to one of the fast pathway
FUSED = 2  # output channels of a lateral connection to one of the fast pathway
_FEW_CHANNELS = 16  # fewer do not fill a vector register of a CPU


class SlowFast(Backbone):
    """Two ResNets with lateral connections from the fast to the slow pathway, after the stem and the first stages.

    The slow pathway takes every fourth frame of the clip, starting with the first. (pytorchvideo takes both clips from
    the data, whose usual recipe spreads the slow one's frames evenly from the first to the last.)

    Args:
        depths: number of blocks in each stage, of both pathways.
        options: of any backbone.
        frames: temporal kernel size of the lateral convolutions.

    Shape:
        - clips: (N, in_channels, T, H, W)
        - output: dict of `level.name` to (N, level.channels, ceil(T / 4), ceil(H / reduction), ceil(W / reduction)):
          the slow pathway's channels, then the fast pathway's, averaged over every four frames. The global mean equals
          that of both pathways where 4 divides T; otherwise the last frames weigh slightly more.
    """

    def __init__(self, depths: Sequence[int], options: BackboneOptions | None = None, *, frames: int = 7) -> None:
        super().__init__()
        options = options or BackboneOptions()
        whole = replace(options, out_levels=None)
        widths = (64, 128, 256, 512)
        stem = partial(clip_stem, frames=1)
        self.slow = ResNet(_fused_block, depths, whole, dim=3, stem=stem, widths=widths, strides=NO_TEMPORAL_STRIDE)
        stem = partial(clip_stem, frames=5, channels=64 // BETA)
        thin = [width // BETA for width in widths]
        self.fast = ResNet(_fast_block, depths, whole, dim=3, stem=stem, widths=thin, strides=NO_TEMPORAL_STRIDE)
        lateral_channels = [64 // BETA, *(level.channels for level in self.fast.levels[:-1])]
        self.fusions = nn.ModuleList(
            Chain(
                conv(3, channels, channels * FUSED, kernel_size=(frames, 1, 1), stride=(ALPHA, 1, 1)),
                norm_layer(3, channels * FUSED, options.norm),
                nn.ReLU(inplace=True),
            )
            for channels in lateral_channels
        )
        initialize(self.fusions, zero_init=False)
        for module in self.fast.modules():
            if isinstance(module, nn.BatchNorm3d) and module.num_features < _FEW_CHANNELS:
                module.register_forward_pre_hook(_contiguous_input)

        levels = []
        for slow, fast in zip(self.slow.levels, self.fast.levels, strict=True):
            _, height, width = cast("tuple[int, int, int]", slow.reduction)
            levels.append(Level(slow.name, slow.channels + fast.channels, (ALPHA, height, width)))
        self.choose_levels(levels, options.out_levels)
        # the pathways freeze themselves; a lateral connection is frozen with the stage before it
        self.freeze(*(f"fusions.{i}" for i in range(min(options.frozen_stages, len(self.fusions)))))

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        slow, fast = _stem(self.slow, clips[:, :, ::ALPHA]), _stem(self.fast, clips)
        wanted = {level.name for level in self.levels}
        features: dict[str, Tensor] = {}
        for index, stage in enumerate(self.slow.stages):
            slow = self._stage(self.slow, stage, torch.cat([slow, self.fusions[index](fast)], dim=1))
            fast = self._stage(self.fast, stage, fast)
            if (name := f"C{index + 2}") in wanted:
                features[name] = torch.cat([slow, _pool_frames(fast)], dim=1)
            if len(features) == len(wanted):  # coarser levels are not in out_levels
                break
        return features

    def _stage(self, path: ResNet, stage: str, x: Tensor) -> Tensor:
        for block in cast(nn.Sequential, path.get_submodule(stage)):
            x = checkpoint_block(block, x) if stage in path.checkpointing and path.training else block(x)
        return x


def _stem(path: ResNet, clips: Tensor) -> Tensor:
    return chain(clips, path.conv1, path.bn1, path.relu, path.maxpool)


def _contiguous_input(norm: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
    """Forward pre-hook of a norm: make its input contiguous while it trains on a CPU.

    With few channels in `channels_last_3d`, the backward pass of PyTorch's batch norm is not vectorized: for
    8 x 8 x 16 x 56 x 56 in bf16 it takes 29 ms, and 1 ms in the contiguous format.
    """
    (x,) = inputs
    return (x.contiguous(),) if norm.training and x.device.type == "cpu" else None


def _pool_frames(x: Tensor) -> Tensor:
    """Average every `ALPHA` frames, and the remaining ones at the end."""
    size = (min(ALPHA, x.shape[2]), 1, 1)  # the kernel must not be longer than the clip
    return F.avg_pool3d(x, size, stride=(ALPHA, 1, 1), ceil_mode=True, count_include_pad=False)


def _fused_block(spec: BlockSpec) -> nn.Module:
    if spec.number == 0:  # the lateral connection's channels are concatenated to the input
        spec = spec._replace(in_channels=spec.in_channels + spec.in_channels * FUSED // BETA)
    return slow_block(spec)


def _fast_block(spec: BlockSpec) -> nn.Module:
    return Bottleneck(spec, entry=temporal_conv, convolution=spatial_conv)


@register
def slowfast_r50(options: BackboneOptions) -> SlowFast:
    """SlowFast-50."""
    return SlowFast((3, 4, 6, 3), options)


@register
def slowfast_r101(options: BackboneOptions) -> SlowFast:
    """SlowFast-101, with shorter lateral kernels."""
    return SlowFast((3, 4, 23, 3), options, frames=5)
